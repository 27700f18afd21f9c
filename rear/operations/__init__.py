"""What lets an operator see into a running service: metrics and traces of its calls and commits, and where they are."""
