"""Bring back single tables, or rows by a condition, as they were in a sandbox: a server at an earlier moment.

START HERE: `planning` says what would be done (a value, with a hash), `merging` does that in one transaction or
nothing, `importing` brings the tables beside the live ones. A table has a `shape` there (sandbox) and here (live);
`matching` decides what of it can be compared, `differences` merges both streams, `comparison` counts and samples.
"""
