"""Frozen records and pure rules; no input or output."""
