"""The group coordinator's rules: classic groups and committed offsets."""
