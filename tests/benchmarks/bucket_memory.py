"""How much memory a bucket of many objects takes to be backed up: `python -m tests.benchmarks.bucket_memory COUNT`.

The server is played by this process: what is measured is the walk, the nodes and the trees.
"""

from __future__ import annotations

import resource
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from edurise_backup.model.location import S3Access, parse_s3
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.repository.saving import Label, save_snapshot
from edurise_backup.s3.wire import Answer, Wire
from edurise_backup.sources.bucket import READERS, BucketOptions, BucketSource
from tests.support import engine

OLD = datetime.now(UTC) - timedelta(days=1)


class PlayedWire(Wire):
    """Lists and gives small objects, `folder` of them in each folder, without a server."""

    def __init__(self, count: int, folder: int) -> None:
        super().__init__(parse_s3("s3:https://played/bucket"), S3Access())
        self.count, self.folder = count, folder
        self.answered = True

    def ask(self, operation: str, *, name: str = "", **parameters: object) -> Answer:
        """Return a page of the listing."""
        begin = int(str(parameters.get("ContinuationToken", 0)))
        end = min(begin + 1000, self.count)
        contents = [
            {"Key": self.key(number), "Size": 40, "ETag": f'"{number:032x}"', "LastModified": OLD}
            for number in range(begin, end)
        ]
        more = {"NextContinuationToken": str(end)} if end < self.count else {}
        return {"Contents": contents, "KeyCount": len(contents), "IsTruncated": end < self.count, **more}

    def key(self, number: int) -> str:
        """Return the key of an object."""
        return f"user-{number // self.folder:07}/essay {number:07}.txt"

    def ask_range(self, offset: int, length: int, parameters: Any) -> Answer:
        """Return an object."""
        number = int(parameters["Key"][-11:-4])
        body = b"%040d" % number
        return {
            "Body": body,
            "ContentLength": 40,
            "ContentRange": "bytes 0-39/40",
            "ETag": f'"{number:032x}"',
            "LastModified": OLD,
            "ContentType": "text/plain",
            "CacheControl": "max-age=3600",
            "Metadata": {"owner": f"pupil {number % 100}"},
        }

    def time_of_last_answer(self) -> datetime:
        """Return the server's time."""
        return datetime.now(UTC)


class Peak:
    """Watches this process's memory while its block runs; the peak in MiB."""

    def __enter__(self) -> Peak:
        self.peak = self.now()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.05):
            self.peak = max(self.peak, self.now())

    @staticmethod
    def now() -> float:
        """Return the resident memory in MiB."""
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * resource.getpagesize() / 2**20


def main(count: int, folder: int) -> None:
    """Back up twice, and print what it took."""
    repository = engine.create()
    for kind in ("first", "unchanged"):
        source = BucketSource("media", PlayedWire(count, folder), BucketOptions(), progress=SilentProgress())
        before, began = Peak.now(), time.monotonic()
        with Peak() as watched, repository.lock(settle=engine.AT_ONCE) as lock:
            repository.load_index()
            saved = save_snapshot(
                repository, source, Label([source.path], host="tests"), lock, progress=SilentProgress(), readers=READERS
            )
        took = time.monotonic() - began
        read = saved.archived.stats.read_bytes
        stored = sum(len(data) for data in repository.store.objects.values()) / 2**20  # type: ignore[attr-defined]
        sys.stdout.write(
            f"{kind}: {count:,} objects, {folder:,} a folder: {took:.0f} s, {read:,} bytes read, "
            f"peak {watched.peak:.0f} MiB, {watched.peak - before:.0f} more than before "
            f"(the repository in memory: {stored:.0f} MiB)\n"
        )


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 20)
