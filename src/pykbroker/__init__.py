"""A Kafka broker in Python, for development and tests."""
