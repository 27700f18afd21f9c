"""REAR: a federation of administrative domains that lend each other compute, kept in an event log."""
