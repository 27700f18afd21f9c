"""The Node Orchestrator: brings service requests from an intent to active resources, and gives back what was got."""
