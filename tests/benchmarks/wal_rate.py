"""Measure how fast the log comes into the repository, beside how fast pgbench makes it on the same cores.

    python -m tests.benchmarks.wal_rate [--seconds 60] [--scale 50]

A server and a catalog of their own, default settings. First pgbench alone
(4 clients, its own transactions, durable commits); the replication slot keeps
what it writes. Then the receiver alone, until the repository has all of it:
received, mapped, compressed, encrypted, stored, published. The quotient says
how many such servers one receiver of this machine could follow. Figures, no verdict.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import time
from pathlib import Path

from edurise_backup.cli.output import table
from edurise_backup.errors import NotFoundError
from edurise_backup.postgres.server import Server
from tests.support.catalog import opened
from tests.support.cluster_product import configure_cluster, receiving, shipped, written
from tests.support.clusters import reachable_folder, running

_DEBIAN = Path("/usr/lib/postgresql")
_SETTINGS = {"fsync": "on", "max_wal_size": "4GB", "checkpoint_timeout": "30min", "shared_buffers": "512MB"}


def main() -> None:
    """Run both and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--scale", type=int, default=50, help="of pgbench")
    given = parser.parse_args()
    with (
        reachable_folder() as folder,
        running(folder / "data", settings=_SETTINGS) as server,
        running(folder / "catalog") as keeper,
    ):
        product = configure_cluster(folder / "product", server, keeper.address, wal="")
        _pgbench(server, "--initialize", f"--scale={given.scale}", "--quiet")
        with opened(product) as catalog:
            with receiving(product, catalog) as reception:
                shipped(reception, server)
            before = written(server)
            said = _pgbench(server, "--client=4", "--jobs=2", f"--time={given.seconds}")
            log = written(server) - before
            began = time.monotonic()
            with receiving(product, catalog) as reception:
                while (reception.status.shipped_lsn or 0) < before + log:
                    reception.step()
                    reception.flush()  # not when the time has come for the last one, but now
                taken = time.monotonic() - began
    made, followed = log / given.seconds / 1e6, log / taken / 1e6
    rows = [
        ["transactions a second", next(line.split()[2] for line in said.splitlines() if line.startswith("tps"))],
        ["log, MB", f"{log / 1e6:.0f}"],
        ["made by pgbench, MB/s", f"{made:.1f}"],
        ["brought into the repository, MB/s", f"{followed:.1f}"],
        ["quotient", f"{followed / made:.1f}"],
    ]
    print(table(["", f"{given.seconds} s of pgbench"], rows))  # noqa: T201


def _pgbench(server: Server, *words: str) -> str:
    program = shutil.which("pgbench") or next(map(str, sorted(_DEBIAN.glob("*/bin/pgbench"), reverse=True)), "")
    if not program:
        raise NotFoundError("there is no pgbench", hint="install postgresql-contrib of any version")
    address = server.address
    environment = {"PGPASSWORD": address.password.reveal() if address.password else "", "PATH": "/usr/bin:/bin"}
    where = [f"--host={address.host}", f"--port={address.port}", f"--username={address.user}", address.database]
    done = subprocess.run(
        [program, *words, *where],
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    )
    return done.stdout


if __name__ == "__main__":
    main()
