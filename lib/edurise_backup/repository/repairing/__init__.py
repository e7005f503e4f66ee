"""Bring a damaged repository back: what is lost, whom it affects, and what can still be saved."""
