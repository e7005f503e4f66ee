"""Restore a base backup of a cluster and recover it to a moment: START HERE in `recovering`."""
