# Prometheus reads what the agent measures.
agent_prefix "" { policy = "read" }
