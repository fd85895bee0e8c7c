"""Everything that talks to a server: connections, the catalogue, replication, row transfer."""
