"""The virtual fabric: what carries a contract's resources from its provider to its consumer."""
