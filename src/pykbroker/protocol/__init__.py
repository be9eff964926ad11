"""Kafka's wire protocol: bytes to messages and back. It knows no socket and no clock."""
