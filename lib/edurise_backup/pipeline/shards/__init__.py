"""A source in parts: weighed and cut, each part archived by itself, and the parts joined to one tree.

The answer of a shard is a tree in the repository: a directory for each of its
ranges, which holds the range's nodes. So what shards bring is proved, indexed
and pruned like anything else, and a shard's memory has the bounds of a backup.
"""
