"""Ask a server which file is which table: the log carries numbers, people want names."""

from __future__ import annotations

from contextlib import closing, suppress

import psycopg

from edurise_backup.errors import BackupError
from edurise_backup.operations.wal.mapping import LogMap
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.session import fetch
from edurise_backup.postgres.wal.naming import log_position, sample, sample_schemas

_DATABASES = "SELECT oid::bigint, datname::text FROM pg_catalog.pg_database WHERE datallowconn AND NOT datistemplate"


def sample_names(address: Address, log_map: LogMap) -> None:
    """Tell the map the names of every database that the role may open; the others show numbers."""
    with suppress(BackupError, psycopg.Error), closing(connect(address, autocommit=True)) as connection:
        databases = [(int(str(oid)), str(name)) for oid, name in fetch(connection, _DATABASES)]
        for oid, name in databases:
            with suppress(BackupError, psycopg.Error), closing(connect(address, database=name, autocommit=True)) as own:
                lsn = log_position(own)
                log_map.sampled(oid, name, sample(own), lsn)
                log_map.learn_schemas(oid, sample_schemas(own))
