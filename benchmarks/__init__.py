"""Measurements of a node as its users meet it: real processes, generated stubs, default settings."""
