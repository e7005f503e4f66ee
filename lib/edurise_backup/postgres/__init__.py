"""PostgreSQL from outside: client tools by version, servers of our own, connections."""
