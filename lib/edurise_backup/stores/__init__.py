"""Places that keep a repository's objects; each satisfies `ports.Store`."""
