"""A bucket that changes, fails or lies while it is backed up: what was read is one state, what was not is named."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError, CancelledError, SourceError, TransientError
from edurise_backup.model.content import BlobId, BlobKind
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Saved
from edurise_backup.s3.perseverance import Patience
from tests.support import engine
from tests.support.buckets import PLAIN_KEYS, Saving, fill, key_and_bytes, large
from tests.support.s3_proxy import Answer, S3Proxy, WireFault
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import new_bucket

pytestmark = pytest.mark.usefixtures("credential")
FILM = "large/film"


@pytest.fixture(params=["rclone", pytest.param("swift", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Give one server of each kind: one that ignores `If-Match`, one that keeps it."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, S3Server)
    return found


class Behind:
    """A filled bucket behind a proxy, and an empty repository."""

    def __init__(self, server: S3Server, folder: Path) -> None:
        self.server = server
        self.bucket = new_bucket(server)
        self.folder = folder
        self.repository: Repository = engine.create()
        fill(server, self.bucket, PLAIN_KEYS)

    def save(self, *faults: WireFault, **more: object) -> Saved:
        """Back up while the faults strike; every one of them must."""
        with S3Proxy(self.server, list(faults)) as proxy:
            saving = Saving(proxy.server, self.bucket, self.folder, patience=Patience(attempts=4))
            return saving.save(self.repository, **more)  # type: ignore[arg-type]

    def digests(self, saved: Saved) -> dict[str, str]:
        """Return what the snapshot has of each key."""
        found = {}
        for path, node in walk_files(self.repository, saved.snapshot.tree):
            if node.type == "file":
                blobs = [BlobId(bytes.fromhex(name)) for name in node.content or ()]
                data = b"".join(self.repository.read_blob(BlobKind.DATA, blob) for blob in blobs)
                found[path.removeprefix("/buckets/uploads/")] = hashlib.sha256(data).hexdigest()
        return found

    def put(self, key: str, body: bytes) -> None:
        """Change an object behind the backup's back."""
        self.server.client().put_object(Bucket=self.bucket, Key=key, Body=body)

    def delete(self, key: str) -> None:
        """Remove an object behind the backup's back."""
        self.server.client().delete_object(Bucket=self.bucket, Key=key)


@pytest.fixture
def behind(server: S3Server, tmp_path: Path) -> Behind:
    """Give a filled bucket."""
    return Behind(server, tmp_path)


def everything() -> dict[str, str]:
    """Return the digests of what `fill` has put."""
    found = {key: key_and_bytes(key) for key in PLAIN_KEYS} | {"empty": b"", FILM: large()}
    return {key: hashlib.sha256(data).hexdigest() for key, data in found.items()}


PASSING: dict[str, Callable[[], list[WireFault]]] = {
    "503 for a while": lambda: [WireFault("GET|HEAD", times=3, status=503, code="SlowDown")],
    "a body that breaks off": lambda: [WireFault("GET", FILM, cut="halfway", times=2)],
    "a small body that breaks off": lambda: [WireFault("GET", "a.txt", cut="halfway")],
    "a page of the listing that breaks off": lambda: [WireFault("GET", "list-type=2", cut="halfway")],
    "connections that are cut": lambda: [WireFault("GET", cut="before", times=3)],
}


@pytest.mark.parametrize("fault", PASSING)
def test_what_passes_costs_time_and_nothing_else(behind: Behind, fault: str) -> None:
    saved = behind.save(*PASSING[fault]())
    assert saved.archived.problems == ()
    assert behind.digests(saved) == everything()


def test_a_body_that_breaks_off_goes_on_by_its_range(behind: Behind) -> None:
    with S3Proxy(behind.server, [WireFault("GET", FILM, cut="halfway", first=1)]) as proxy:
        saving = Saving(proxy.server, behind.bucket, behind.folder)
        saved = saving.save(behind.repository)
        assert sum(FILM in request for request in proxy.requests) == 4  # three ranges, one of them twice
    assert behind.digests(saved) == everything()


@pytest.mark.parametrize("share", [0, 1, 2])
def test_ranges_that_come_shorter_than_they_were_asked_for_are_joined_or_asked_for_again(
    behind: Behind, share: int
) -> None:
    def short(answer: Answer) -> Answer:
        return answer.with_body(answer.body[: len(answer.body) * share // 3])

    saved = behind.save(WireFault("GET", FILM, first=1, times=3, answer=short))
    assert saved.archived.problems == ()
    assert behind.digests(saved) == everything()


def test_an_object_that_is_replaced_while_it_is_read_is_read_again_whole(behind: Behind) -> None:
    other = large()[::-1]
    saved = behind.save(WireFault("GET", FILM, first=1, before=lambda: behind.put(FILM, other)))
    assert saved.archived.problems == ()
    assert behind.digests(saved) == everything() | {FILM: hashlib.sha256(other).hexdigest()}


@pytest.mark.parametrize("other", [b"", b"short", large() + b"more"], ids=["empty", "short", "long"])
def test_an_object_that_is_replaced_after_it_was_listed_is_kept_as_it_is_now(behind: Behind, other: bytes) -> None:
    changes = [
        WireFault("GET", FILM, before=lambda: behind.put(FILM, other)),
        WireFault("HEAD", "empty", before=lambda: behind.put("empty", b"full by now")),
    ]
    saved = behind.save(*changes)
    now = {FILM: hashlib.sha256(other).hexdigest(), "empty": hashlib.sha256(b"full by now").hexdigest()}
    assert saved.archived.problems == ()
    assert behind.digests(saved) == everything() | now


def test_an_object_that_never_holds_still_is_left_out_and_named(behind: Behind) -> None:
    states = iter(range(1000))
    change = WireFault("GET", FILM, times=99, before=lambda: behind.put(FILM, large() + b"%d" % next(states)))
    saved = behind.save(change)
    (problem,) = saved.archived.problems
    assert "uploads/large/film: changed while it was read" in problem
    assert "not in this backup" in problem
    assert FILM not in behind.digests(saved)


def test_an_object_that_is_deleted_before_it_is_read_is_a_warning(behind: Behind) -> None:
    saved = behind.save(WireFault("GET", "a.txt", before=lambda: behind.delete("a.txt")))
    assert saved.archived.problems == ("uploads/a.txt: was deleted before it was read",)
    kept = everything()
    del kept["a.txt"]
    assert behind.digests(saved) == kept


def test_an_object_that_is_refused_is_a_named_problem_and_the_others_are_there(behind: Behind) -> None:
    saved = behind.save(WireFault("GET", "a.txt", status=403, code="AccessDenied", times=9))
    (problem,) = saved.archived.problems
    assert problem.startswith("uploads/a.txt: the credential may not do GetObject")
    assert behind.digests(saved).keys() == everything().keys() - {"a.txt"}


def test_when_no_object_can_be_read_the_backup_fails(behind: Behind) -> None:
    for number in range(40):
        behind.put(f"more/{number}", b"x")
    refused = WireFault("GET|HEAD", unless="list-type", status=403, code="AccessDenied", times=999)
    with pytest.raises(BackupError, match="could not be read one after the other") as caught:
        behind.save(refused)
    assert caught.value.hint
    assert behind.repository.snapshots() == {}


def swapped(answer: Answer) -> Answer:
    """Return a page whose first key is one of the page before."""
    begin = answer.body.index(b"<Key>") + 5
    end = answer.body.index(b"</Key>", begin)
    return answer.with_body(answer.body[:begin] + b"0" + answer.body[end:])


LISTINGS: dict[str, tuple[Callable[[], WireFault], type[BackupError], str]] = {
    "refused": (
        lambda: WireFault("GET", "continuation-token", status=403, code="AccessDenied", times=9),
        SourceError,
        "may not do ListObjectsV2",
    ),
    "expired": (
        lambda: WireFault("GET", "continuation-token", status=400, code="ExpiredToken", times=9),
        SourceError,
        "session token has expired",
    ),
    "ill": (
        lambda: WireFault("GET", "continuation-token", status=500, code="InternalError", times=99),
        TransientError,
        "tried 4 times",
    ),
    "out of order": (
        lambda: WireFault("GET", "continuation-token", answer=swapped),
        SourceError,
        "not in the order of keys",
    ),
}


@pytest.mark.parametrize("listing", LISTINGS)
def test_a_listing_that_does_not_come_to_its_end_fails_the_backup(behind: Behind, listing: str) -> None:
    fault, error, said = LISTINGS[listing]
    with pytest.raises(error, match=said):
        behind.save(fault(), page=4)
    assert behind.repository.snapshots() == {}


def test_a_server_that_does_not_know_ranges_never_fills_the_memory(behind: Behind) -> None:
    def all_of_it(answer: Answer) -> Answer:
        return Answer(200, answer.headers, large())

    saved = behind.save(WireFault("GET", FILM, answer=all_of_it, times=9))
    (problem,) = saved.archived.problems
    assert "does not keep to ranges" in problem


def test_a_backup_that_is_stopped_publishes_nothing(behind: Behind) -> None:
    progress = SilentProgress()
    with pytest.raises(CancelledError):
        behind.save(WireFault("GET", FILM, before=progress.cancel), progress=progress)
    assert behind.repository.snapshots() == {}
