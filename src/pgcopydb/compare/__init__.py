"""Comparing both sides; nothing stands here yet."""
