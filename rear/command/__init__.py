"""The `rear` command."""
