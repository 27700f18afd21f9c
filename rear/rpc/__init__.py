"""The gRPC edges: what a service answers, and how it is called."""
