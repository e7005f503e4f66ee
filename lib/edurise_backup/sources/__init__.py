"""What is protected; each satisfies `ports.Source`."""
