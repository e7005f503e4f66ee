"""EduRise Backup: backs up the EduRise platform, proves that it can be restored, and restores it."""

__version__ = "0.1.0"
