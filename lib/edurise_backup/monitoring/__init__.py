"""What watches the work."""
