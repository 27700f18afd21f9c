"""The tables: what the ledger says, in rows. They can be thrown away and rebuilt at any time."""
