"""The EduRise platform that the demo protects, destroys and compares; start at `platform`."""
