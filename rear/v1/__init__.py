"""Generated from proto/rear/v1 by proto/generate.py."""
