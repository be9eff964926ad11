"""Pure rules of the coordinators: decide, records, replay."""
