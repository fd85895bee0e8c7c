"""Data becomes SQL here, and nothing else happens: no connection, no waiting, no reading."""
