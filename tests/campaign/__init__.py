"""Campaigns: the same test many times over, with other random numbers. Not part of the tests."""
