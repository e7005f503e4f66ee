"""Turns a source into blobs and trees: read, chunk, compress, seal, and back."""
