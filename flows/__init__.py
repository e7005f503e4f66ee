"""Prefect flows: they schedule, retry and show; the library does the work and writes the job rows."""
