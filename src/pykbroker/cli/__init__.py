"""The command `pykbroker`, one file a command."""
