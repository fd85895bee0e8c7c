"""Whole migrations, by the installed command, end to end."""
