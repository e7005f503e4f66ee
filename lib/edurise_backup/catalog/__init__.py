"""The catalog: job tables in PostgreSQL, a rebuildable cache plus the history of what was done."""
