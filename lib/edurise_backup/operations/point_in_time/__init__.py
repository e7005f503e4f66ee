"""Moments of a cluster: which can be brought back, what happened when, and how one is brought back."""
