"""The work directory: where a migration keeps what it planned, stored and promised."""
