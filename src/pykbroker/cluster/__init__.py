"""Pure rules of partitions, replicas, fetch sessions and placement, and the image of the cluster."""
