"""A PostgreSQL cluster as a source: its data directory and tablespaces, with the WAL that makes them consistent."""
