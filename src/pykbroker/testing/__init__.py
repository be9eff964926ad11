"""A broker inside a test: context managers and the pytest plugin."""
