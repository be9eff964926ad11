"""A Kafka client over the wire, for the command line: connections, routing, records in and out."""
