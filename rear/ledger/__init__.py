"""The event log on NATS JetStream: what is acknowledged here is durable, in order and provable."""
