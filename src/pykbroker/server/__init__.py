"""The trio services behind the handlers."""
