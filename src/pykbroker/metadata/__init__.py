"""The store of topics, partitions, configs and ids: a small versioned tree."""
