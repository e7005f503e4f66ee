"""Reads back what is stored and says whether it can be restored."""
