"""Bring back single tables, or rows by a condition, as they were: `planning` shows, `merging` and `importing` act."""
