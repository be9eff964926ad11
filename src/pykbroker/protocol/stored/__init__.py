"""The records of Kafka's internal topics: their keys and values."""
