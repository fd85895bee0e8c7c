"""Finds and runs pg_dump and pg_restore, the only programs that this one starts."""
