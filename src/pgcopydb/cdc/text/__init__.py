"""A replication in text: changes as JSON lines, JSON lines as SQL, SQL into the target."""
