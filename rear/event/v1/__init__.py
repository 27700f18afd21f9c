"""Generated from proto/rear/event/v1 by proto/generate.py."""
