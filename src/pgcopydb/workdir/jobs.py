"""The job queue (placeholder until its owner lands it)."""

JOBS_SCHEMA = ""
