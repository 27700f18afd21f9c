"""The protocol's actors on the consumer's side: what is looked for, reserved, and purchased."""
