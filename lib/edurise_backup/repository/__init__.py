"""Snapshots, packs, index, keys and locks in one store: restic's repository format, version 2 (and 1, read only)."""
