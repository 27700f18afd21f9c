"""Pure decisions about capacity, flavours and contracts: no I/O, no clock, no randomness."""
