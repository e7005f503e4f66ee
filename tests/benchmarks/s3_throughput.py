"""Upload throughput beside `rclone copy` of the same packs to the same server, in one run, in turns.

`python -m tests.benchmarks.s3_throughput rclone|swift`. The server runs on the same cores, so that the figures say
how the two clients compare, not what a network brings.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from edurise_backup.s3.parts import MIB
from tests.support.s3_servers import REGION, S3Server, rclone_server, swift_server, tool
from tests.support.s3_stores import new_bucket, store_at

PACK = 16 * MIB
PACKS = 16
ROUNDS = 5
TRANSFERS = 4
"""What rclone does by itself."""


def main() -> None:
    """Measure, and print one JSON document: MB/s by client, the medians, and their quotient."""
    kind = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        packs = place / "packs"
        packs.mkdir()
        for number in range(PACKS):
            (packs / f"{number:064x}").write_bytes(os.urandom(PACK))
        starts = {"rclone": rclone_server, "swift": swift_server}
        with starts[kind](place / "server") as server:
            sys.stdout.write(json.dumps(measure(server, packs, place), indent=1) + "\n")


def measure(server: S3Server, packs: Path, place: Path) -> dict[str, object]:
    """Return the figures."""
    clients: dict[str, Callable[[], None]] = {
        "rclone copy": lambda: copy(server, packs, place),
        "ours, 4 at once": lambda: put(server, packs, place, TRANSFERS),
        "ours, 1 at once": lambda: put(server, packs, place, 1),
    }
    speeds: dict[str, list[float]] = {name: [] for name in clients}
    for _ in range(ROUNDS):
        for name, work in clients.items():
            began = time.perf_counter()
            work()
            speeds[name].append(round(PACKS * PACK / 1e6 / (time.perf_counter() - began)))
    medians = {name: sorted(found)[ROUNDS // 2] for name, found in speeds.items()}
    quotient = round(medians["ours, 4 at once"] / medians["rclone copy"], 2)
    return {"server": server.kind, "MB/s": speeds, "medians": medians, "quotient": quotient}


def put(server: S3Server, packs: Path, place: Path, at_once: int) -> None:
    """Upload with a store of ours; its client is made anew, as rclone's is."""
    store = store_at(server, new_bucket(server), place / "keys", prefix="")
    with ThreadPoolExecutor(at_once) as pool:
        list(
            pool.map(lambda path: store.put(f"data/{path.name[:2]}/{path.name}", [path.read_bytes()]), packs.iterdir())
        )


def copy(server: S3Server, packs: Path, place: Path) -> None:
    """Upload with `rclone copy`."""
    remote = f":s3,provider=Other,force_path_style=true,region={REGION},endpoint='{server.endpoint}',env_auth=true:"
    words = ["copy", str(packs), f"{remote}{new_bucket(server)}/data", "--transfers", str(TRANSFERS)]
    words += ["--config", str(place / "none.conf"), "--quiet"]
    subprocess.run([tool("rclone"), *words], check=True, env={**os.environ, **server.environment}, timeout=300)


if __name__ == "__main__":
    main()
