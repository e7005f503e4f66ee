"""The runbook of point in time, run to the letter on a real cluster; its last section with stock restic alone."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edurise_backup.model.wal import format_lsn
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.server import Server
from tests.support import engine
from tests.support.catalog import Product, environment, opened, run_as_typed
from tests.support.cluster_product import configure_cluster, receiving, shipped
from tests.support.clusters import SOURCE, ask, reachable_folder, running
from tests.support.documents import blocks, page, section

PAGE = page("docs/operations/point-in-time.md")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=[15, 18])
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    with reachable_folder() as folder, running(folder / "data", request.param) as found:
        yield found


@pytest.fixture
def folder() -> Iterator[Path]:
    with reachable_folder() as found:
        yield found


@pytest.fixture
def product(tmp_path: Path, server: Server, catalog_database: Address) -> Product:
    return configure_cluster(tmp_path / "product", server, catalog_database)


def follow(product: Product, title: str, language: str = "sh", **variables: str) -> str:
    """Run a section's commands in one shell, as they stand there; returns what was said."""
    return run_as_typed(product, "\n".join(blocks(section(PAGE, title), language)), variables)


def test_the_runbook_brings_a_dropped_table_back(server: Server, product: Product, folder: Path) -> None:
    assert "timeline 1: from" in follow(product, "Setting it up")
    with opened(product) as catalog, receiving(product, catalog) as reception:
        ask(server, "CREATE TABLE submissions AS SELECT g AS id, 'essay ' || g AS essay FROM generate_series(1, 50) g")
        moment = f"time:{ask(server, 'SELECT clock_timestamp()')[0][0].isoformat()}"  # type: ignore[attr-defined]
        ask(server, "INSERT INTO submissions VALUES (51, 'later')")
        ask(server, "DROP TABLE submissions")
        ask(server, "SELECT pg_create_restore_point('later')")
        shipped(reception, server)
        event = catalog.wal.events(SOURCE, relation="submissions")[0]
    said = follow(product, "Which moments are there", MOMENT=moment.removeprefix("time:"))
    assert "DROP TABLE public.submissions" in said
    target = folder / "recovered"
    said = follow(product, "Bringing a moment back", MOMENT=moment, TARGET=str(target))
    assert "proof passed" in said
    with Server(target, binaries=server.binaries, password=server._password, settings={"fsync": "off"}) as again:
        assert ask(again, "SELECT count(*) FROM submissions") == [(50,)]
    deed = f"lsn:{format_lsn(event.commit_lsn)}"
    said = follow(product, "Single tables, or some of their rows", DATABASE="postgres", DEED=deed)
    assert "--merge" in said


def test_stock_restic_alone_brings_a_moment_back(server: Server, product: Product, folder: Path) -> None:
    follow(product, "Setting it up")
    with opened(product) as catalog, receiving(product, catalog) as reception:
        ask(server, "DROP TABLE IF EXISTS grades")
        ask(server, "CREATE TABLE grades AS SELECT g AS id FROM generate_series(1, 70) g")
        moment = ask(server, "SELECT clock_timestamp()")[0][0]
        assert isinstance(moment, datetime)
        ask(server, "DELETE FROM grades WHERE id > 3")
        shipped(reception, server)
    work = folder / "work"
    work.mkdir()
    owner = server.data_directory.stat()
    variables = {
        "RESTIC_REPOSITORY": str(product.repository),
        "RESTIC_PASSWORD": engine.PASSPHRASE,
        "WORK": str(work),
        "BIN": str(server.binaries.bindir),
        "TIME": f"{moment.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00",
        "PATH": os.environ["PATH"],
    }
    commands = "\n".join(blocks(section(PAGE, "With stock restic alone"), "sh"))
    if os.geteuid() == 0:  # restic as root gives owners back; the server's programs run as its user
        as_server = f"setpriv --reuid={owner.st_uid} --regid={owner.st_gid} --clear-groups"
        commands = commands.replace(
            '"$BIN/pg_ctl"', f'chown -R {owner.st_uid}:{owner.st_gid} "$WORK"; {as_server} "$BIN/pg_ctl"'
        )
    done = subprocess.run(
        ["bash", "-eu", "-c", commands],
        cwd=work,
        env={**environment(), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    data = work / "base" / ".edurise" / "clusters" / SOURCE / "data"
    address = Address(str(work), 5432, "postgres", password=server._password)
    try:
        with connect(address, autocommit=True) as connection:
            assert connection.execute("SELECT count(*) FROM grades").fetchall() == [(70,)]
    finally:
        Server(data, binaries=server.binaries, password=server._password).stop()
