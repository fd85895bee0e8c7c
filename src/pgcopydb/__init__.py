"""Move a PostgreSQL database to another server while the application keeps writing to it."""

__version__ = "0.1.0"
