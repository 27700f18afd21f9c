"""The payloads of the ledger's events."""
