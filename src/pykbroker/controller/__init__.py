"""Pure rules of the controller: topics, placement, elections."""
