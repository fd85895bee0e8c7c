"""Looks at both servers before anything is created, and says all that stands in the way at once."""
