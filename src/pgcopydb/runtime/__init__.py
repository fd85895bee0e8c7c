"""Processes: starting and stopping workers, signals, logging."""
