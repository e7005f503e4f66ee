"""The whole product around one cluster: base backups and its log, into a repository of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from edurise_backup import operations
from edurise_backup.model.wal import Lsn, parse_lsn
from edurise_backup.operations.wal.receiving import Reception
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.server import Server
from edurise_backup.repository.wal_archive import WalArchive, open_archive
from edurise_backup.stores.local import LocalStore
from tests.support import engine
from tests.support.catalog import Product, configure, quote_address, write_private
from tests.support.clusters import SOURCE, ask

PATIENCE = 60.0
"""Seconds until a test gives up on what it waits for."""


def configure_cluster(home: Path, server: Server, catalog: Address, *, wal: str = "ship_seconds = 1") -> Product:
    """Write the settings of a product that protects a cluster and some files."""
    product = configure(home, catalog=catalog, database=None)
    address = server.address
    assert address.password
    write_private(home / "cluster.password", address.password.reveal())
    with product.settings_path.open("a") as file:
        file.write(
            f'\n[[cluster]]\nname = "{SOURCE}"\nurl = "{quote_address(address)}"\n'
            f'password_file = "cluster.password"\n[cluster.wal]\n{wal}\n'
        )
    return product


def until(holds: Callable[[], bool], step: Callable[[], object] = lambda: None) -> None:
    """Take steps until something holds; fail when it does not within a minute."""
    deadline = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < deadline, "it never came to that"
        step()
        threading.Event().wait(0.02)


def written(server: Server) -> Lsn:
    """Return how far the server has flushed its log."""
    return parse_lsn(str(ask(server, "SELECT pg_current_wal_flush_lsn()")[0][0]))


def archive_of(product: Product) -> WalArchive:
    """Return the log of the product's cluster, as the repository has it now."""
    found = open_archive(engine.opened(LocalStore(product.repository)), SOURCE, host="tests")
    assert found is not None
    return found


def numbers(archive: WalArchive, *, partial: bool = True) -> list[int]:
    """Return the numbers of its segments of 16 MiB, in order; also of those that were not complete."""
    names = [name for name, _ in archive.names() if len(name) == 24 or (partial and len(name) > 24)]
    return [int(name[8:16], 16) * 256 + int(name[16:24], 16) for name in names]


@contextmanager
def receiving(product: Product, catalog: operations.Catalog) -> Iterator[Reception]:
    """Yield the reception of the product's cluster; nothing happens until somebody takes a step."""
    settings = product.settings
    reception = Reception(settings, settings.clusters[0], catalog)
    try:
        yield reception
    finally:
        reception.close()


def shipped(reception: Reception, server: Server) -> Lsn:
    """Take steps until all that the server has written by now is in the repository; return up to where."""
    end = written(server)
    until(lambda: (reception.status.shipped_lsn or 0) >= end, reception.step)
    return end
