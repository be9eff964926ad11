"""The share coordinator's rules: how far share groups have come in each partition, and how that is stored."""
