"""A partition's log on disk, file for file as Kafka keeps it. Plain blocking files, no trio."""
