"""A node: the provider and consumer of one site's resources."""
