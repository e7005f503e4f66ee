"""Clusters' write-ahead logs: received, shipped into the repository, read, told.

START HERE is `receiving`: it keeps `spool` filled, has `shipping` bring it into
the repository, and `mapping` tell the catalog what each segment holds. Where the
server hands its files over, `accepting` receives them and `keeping` decides.
"""
