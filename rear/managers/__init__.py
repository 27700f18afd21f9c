"""The protocol's actors, shared by all roles."""
