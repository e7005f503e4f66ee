"""What a machine offers beyond Python's ordinary ways: further processes, and writing around the page cache."""
