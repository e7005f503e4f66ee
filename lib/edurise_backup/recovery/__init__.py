"""Brings back what was backed up, and proves it."""
