"""The protocol's actors on the provider's side: what is offered, sold, and ended."""
