# Patroni keeps who leads, under a session of its own.
key_prefix "patroni/" { policy = "write" }
session_prefix "" { policy = "write" }
node_prefix "" { policy = "read" }
agent_prefix "" { policy = "read" }
