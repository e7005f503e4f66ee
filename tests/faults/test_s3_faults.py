"""A bucket whose server or network fails: it costs time, or a clear error; never an object, never a half answer."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from edurise_backup.errors import (
    BackupError,
    ConflictError,
    DamageError,
    NotFoundError,
    SpaceError,
    TransientError,
    UnreachableError,
)
from edurise_backup.model.location import parse_s3
from edurise_backup.s3.perseverance import Patience
from edurise_backup.stores.s3 import S3Settings, S3Store
from flows.processes import free_port
from tests.support.engine import ONE_PACK, back_up, check, create, forget, opened, prune, restored_differences
from tests.support.s3_proxy import Answer, S3Proxy, WireFault
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import SMALL_PARTS, QuickClock, access_to, new_bucket, store_at
from tests.support.trees import small_tree, write

IMPATIENT = Patience(attempts=3)
NAME = "data/ab/object"
BIG = os.urandom(11 << 20)


@pytest.fixture(params=["rclone", pytest.param("swift", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Give one server of each kind: one that ignores conditions, one that keeps them."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, S3Server)
    return found


def some_quick(numbers: Iterable[int], quick: set[int]) -> list[object]:
    """Return all numbers; those that are not quick run in the slow tests only."""
    return [number if number in quick else pytest.param(number, marks=pytest.mark.slow) for number in numbers]


class Behind:
    """A bucket, a store that reaches it through the proxy, and one that reaches it directly."""

    def __init__(self, proxy: S3Proxy, folder: Path, clock: QuickClock, **options: object) -> None:
        self.proxy = proxy
        self.clock = clock
        self.bucket = new_bucket(proxy.behind)
        self.store = store_at(proxy.server, self.bucket, folder / "keys", sizes=SMALL_PARTS, clock=clock, **options)  # type: ignore[arg-type]
        self.direct = store_at(proxy.behind, self.bucket, folder / "keys", sizes=SMALL_PARTS)

    def uploads(self) -> int:
        """Return how many uploads in parts lie about."""
        return len(self.proxy.behind.client().list_multipart_uploads(Bucket=self.bucket).get("Uploads", []))


@contextmanager
def behind(server: S3Server, folder: Path, *faults: WireFault, **options: object) -> Iterator[Behind]:
    """Give a bucket behind a proxy; leaving fails when a fault never struck."""
    with S3Proxy(server, list(faults)) as proxy:
        yield Behind(proxy, folder, QuickClock(), **options)


PASSING = {
    "cut before": {"cut": "before"},
    "cut after success": {"cut": "after"},
    "500": {"status": 500, "code": "InternalError"},
    "503": {"status": 503, "code": "SlowDown"},
    "429": {"status": 429, "code": "TooManyRequests"},
    "request timeout": {"status": 400, "code": "RequestTimeout"},
    "bytes changed on the way": {"status": 400, "code": "BadDigest"},
}


@pytest.mark.parametrize("passing", PASSING)
def test_r4_a_put_that_fails_for_a_while_is_there_once_and_whole(
    server: S3Server, tmp_path: Path, passing: str
) -> None:
    """The answer may be lost after the work was done: then the object is ours, and no conflict."""
    fault = WireFault("PUT", NAME, times=2, **PASSING[passing])  # type: ignore[arg-type]
    with behind(server, tmp_path, fault) as there:
        there.store.put(NAME, [b"whole"])
        assert there.direct.get(NAME) == b"whole"
        with pytest.raises(ConflictError):
            there.store.put(NAME, [b"other"])
        assert there.direct.get(NAME) == b"whole"


@pytest.mark.parametrize("passing", PASSING)
def test_r4_a_passing_fault_of_any_call_costs_time_only(server: S3Server, tmp_path: Path, passing: str) -> None:
    """Each call meets the fault twice; without a body, an answer of 400 has no name that says that it passes."""
    what = PASSING[passing]
    bare = {"status": 500} if what.get("status") == 400 else what
    with behind(server, tmp_path) as there:
        there.direct.put(NAME, [b"0123456789"])
        calls: list[tuple[str, str, Callable[[], object], object]] = [
            ("GET", NAME, lambda: there.store.get(NAME), b"0123456789"),
            ("GET", NAME, lambda: there.store.get(NAME, offset=3, length=4), b"3456"),
            ("HEAD", NAME, lambda: there.store.size(NAME), 10),
            ("GET", "list-type=2", lambda: list(there.store.list("data")), [(NAME, 10)]),
            ("HEAD", "", lambda: there.store.now() is not None, True),
            ("GET", "uploads", lambda: there.store.sweep("data"), 0),
            ("DELETE", NAME, lambda: there.store.delete(NAME), None),
        ]
        for method, path, call, answer in calls:
            before = there.clock.seconds
            fault = WireFault(method, path, times=2, **(bare if method == "HEAD" else what))  # type: ignore[arg-type]
            there.proxy.faults.append(fault)
            assert call() == answer
            assert fault.fired == 2
            assert there.clock.seconds > before
        assert list(there.direct.list("data")) == []


@pytest.mark.parametrize("lasting", ["cut before", "500", "503", "429"])
def test_r4_a_fault_of_any_call_that_lasts_is_an_error_that_says_what_is_safe(
    server: S3Server, tmp_path: Path, lasting: str
) -> None:
    """Also a store that the server has answered before: else it would be told as unreachable."""
    with behind(server, tmp_path, patience=Patience(attempts=2)) as there:
        there.store.put(NAME, [b"0123456789"])
        calls: list[tuple[str, str, Callable[[], object]]] = [
            ("PUT", "data/other", lambda: there.store.put("data/other", [b"x"])),
            ("GET", NAME, lambda: there.store.get(NAME)),
            ("GET", NAME, lambda: there.store.get(NAME, offset=3, length=4)),
            ("HEAD", NAME, lambda: there.store.size(NAME)),
            ("GET", "list-type=2", lambda: list(there.store.list("data"))),
            ("HEAD", "", there.store.now),
            ("GET", "uploads", lambda: there.store.sweep("data")),
            ("DELETE", NAME, lambda: there.store.delete(NAME)),
        ]
        for method, path, call in calls:
            fault = WireFault(method, path, times=99, **PASSING[lasting])  # type: ignore[arg-type]
            there.proxy.faults[:] = [fault]
            with pytest.raises(TransientError) as caught:
                call()
            assert fault.fired == 2
            assert caught.value.safe
            assert caught.value.hint
        assert list(there.direct.list("data")) == [(NAME, 10)]


def test_a_server_that_says_503_for_a_minute_costs_a_minute(rclone: S3Server, tmp_path: Path) -> None:
    """By the store's clock: its waits grow, and together reach over the minute."""
    fault = WireFault("GET", NAME, status=503, code="SlowDown", times=12)
    with behind(rclone, tmp_path, fault) as there:
        there.direct.put(NAME, [b"x"])
        assert there.store.get(NAME) == b"x"
        assert there.clock.seconds > 60
        assert there.store.traffic().requests("GetObject") == 13


def test_all_requests_slow_down_when_the_server_asks_for_it_and_speed_up_again(
    rclone: S3Server, tmp_path: Path
) -> None:
    fault = WireFault("GET", NAME, status=503, code="SlowDown", times=6)
    with behind(rclone, tmp_path, fault) as there:
        there.direct.put(NAME, [b"x"])
        there.store.get(NAME)
        pace = there.store.pace
        assert pace.gap > 0.3
        for _ in range(30):
            there.store.size(NAME)
        assert pace.gap == 0


def test_a_server_that_never_gets_well_is_given_up_and_nothing_is_there(server: S3Server, tmp_path: Path) -> None:
    fault = WireFault("PUT", NAME, status=500, code="InternalError", times=99)
    with behind(server, tmp_path, fault, patience=IMPATIENT) as there:
        with pytest.raises(TransientError, match="tried 3 times") as caught:
            there.store.put(NAME, [b"x"])
        assert caught.value.safe
        assert caught.value.hint
        assert list(there.direct.list("data")) == []


def test_a_server_that_never_answers_is_given_up_soon(tmp_path: Path, rclone: S3Server) -> None:
    fault = WireFault("GET", "", cut="before", times=999)
    with behind(rclone, tmp_path, fault) as there:
        with pytest.raises(UnreachableError, match="does not answer"):
            there.store.get("config")
        assert there.clock.seconds <= 20


@pytest.mark.parametrize("host", ["127.0.0.1", "no-such-host.invalid"])
def test_a_port_where_nobody_listens_and_a_name_that_nobody_has_are_unreachable(
    rclone: S3Server, tmp_path: Path, host: str
) -> None:
    clock = QuickClock()
    access = access_to(rclone, tmp_path)
    place = parse_s3(f"s3:http://{host}:{free_port()}/bucket")
    store = S3Store(place, access, S3Settings(timing=clock.timing))
    with pytest.raises(UnreachableError, match="does not answer") as caught:
        store.put("config", [b"x"])
    assert "tried" in caught.value.message
    assert caught.value.hint
    assert 0 < clock.seconds <= 20


def test_a_server_that_is_started_again_meanwhile_is_waited_for(rclone: S3Server, tmp_path: Path) -> None:
    """Its port is closed for a while, after it has answered before."""
    with S3Proxy(rclone) as proxy:
        bucket = new_bucket(rclone)
        clock = QuickClock()
        store = store_at(proxy.server, bucket, tmp_path, clock=clock)
        store.put(NAME, [b"x"])
        proxy.close()
        clock.alarms.append((30, proxy.open))
        assert store.get(NAME) == b"x"
        assert clock.seconds > 30


def test_a_server_that_hangs_is_asked_again(rclone: S3Server, tmp_path: Path) -> None:
    """A time-out says nothing about whether the put was done: here it was not."""
    fault = WireFault("PUT", NAME, cut="hang")
    with behind(rclone, tmp_path, fault, answer_seconds=0.3) as there:
        there.store.put(NAME, [b"x"])
        assert there.direct.get(NAME) == b"x"


def test_a_put_whose_answer_came_too_late_is_ours(server: S3Server, tmp_path: Path) -> None:
    def late(answer: Answer) -> Answer:
        ended.wait(10)
        return answer

    ended = threading.Event()
    fault = WireFault("PUT", NAME, answer=late)
    with behind(server, tmp_path, fault, answer_seconds=0.5) as there:
        there.store.put(NAME, [b"x"])
        ended.set()
        assert there.direct.get(NAME) == b"x"
        assert there.store.traffic().requests("PutObject") == 1


def test_somebody_elses_object_is_a_conflict_also_after_a_lost_answer(server: S3Server, tmp_path: Path) -> None:
    """Between our request that was cut and the next one, somebody else has written other bytes of the same length."""
    with behind(server, tmp_path) as there:
        there.proxy.faults.append(WireFault("PUT", NAME, status=500, code="InternalError"))
        there.proxy.faults.append(WireFault("HEAD", NAME, before=lambda: there.direct.put(NAME, [b"theirs"]), first=1))
        with pytest.raises(ConflictError):
            there.store.put(NAME, [b"ours.."])
        assert there.direct.get(NAME) == b"theirs"


def test_a_server_that_keeps_conditions_keeps_what_came_between_our_look_and_our_put(
    swift: S3Server, tmp_path: Path
) -> None:
    with behind(swift, tmp_path) as there:
        there.proxy.faults.append(WireFault("PUT", NAME, before=lambda: there.direct.put(NAME, [b"theirs"])))
        with pytest.raises(ConflictError):
            there.store.put(NAME, [b"ours.."])
        assert there.direct.get(NAME) == b"theirs"


def test_a_server_that_keeps_no_conditions_tells_the_writer_who_was_replaced(rclone: S3Server, tmp_path: Path) -> None:
    """Of an object that is not named by its bytes; he looks once more before he says that it is there."""
    with behind(rclone, tmp_path) as there:
        fault = WireFault("HEAD", "config", before=lambda: _replace(there, "config", b"theirs"), first=1)
        there.proxy.faults.append(fault)
        with pytest.raises(ConflictError, match="by somebody else at the same moment"):
            there.store.put("config", [b"ours.."])


def _replace(there: Behind, name: str, content: bytes) -> None:
    there.direct.delete(name)
    there.direct.put(name, [content])


# Answers that are short


@pytest.mark.parametrize("times", [1, 3])
def test_s23_an_answer_that_breaks_off_is_asked_for_again(server: S3Server, tmp_path: Path, times: int) -> None:
    content = os.urandom(300_000)
    fault = WireFault("GET", NAME, cut="halfway", times=times)
    with behind(server, tmp_path, fault) as there:
        there.direct.put(NAME, [content])
        assert there.store.get(NAME) == content


def test_s23_a_range_that_is_too_short_though_nobody_says_so_is_asked_for_again(
    server: S3Server, tmp_path: Path
) -> None:
    fault = WireFault("GET", NAME, answer=lambda answer: answer.with_body(answer.body[:-3]))
    with behind(server, tmp_path, fault) as there:
        there.direct.put(NAME, [b"0123456789"])
        assert there.store.get(NAME, offset=2, length=6) == b"234567"


def test_s23_a_range_that_stays_short_is_an_error(server: S3Server, tmp_path: Path) -> None:
    fault = WireFault("GET", NAME, answer=lambda answer: answer.with_body(answer.body[:-1]), times=99)
    with behind(server, tmp_path, fault, patience=IMPATIENT) as there:
        there.direct.put(NAME, [b"0123456789"])
        with pytest.raises(BackupError, match="5 bytes came, 6 were asked for"):
            there.store.get(NAME, offset=2, length=6)


def test_a_server_that_knows_no_ranges_costs_bytes_only(server: S3Server, tmp_path: Path) -> None:
    def whole(answer: Answer) -> Answer:
        kept = tuple(pair for pair in answer.headers if pair[0].lower() != "content-range")
        return Answer(200, kept, b"0123456789")

    with behind(server, tmp_path, WireFault("GET", NAME, answer=whole, times=2)) as there:
        there.direct.put(NAME, [b"0123456789"])
        assert there.store.get(NAME, offset=2, length=6) == b"234567"
        with pytest.raises(DamageError):
            there.store.get(NAME, offset=8, length=6)


# Listings


def test_s09_a_listing_is_followed_to_its_end(server: S3Server, tmp_path: Path) -> None:
    with behind(server, tmp_path, page=3) as there:
        names = {f"snapshots/{number:04}" for number in range(10)}
        for name in names:
            there.direct.put(name, [b""])
        assert [name for name, _ in there.store.list("snapshots")] == sorted(names)
        assert there.store.traffic().requests("ListObjectsV2") == 4


def _listed(change: tuple[str, str]) -> WireFault:
    pattern, replacement = change

    def changed(answer: Answer) -> Answer:
        return answer.with_body(re.sub(pattern.encode(), replacement.encode(), answer.body, flags=re.DOTALL))

    return WireFault("GET", "list-type=2", answer=changed, times=99)


LIES = {
    "says that it goes on, but not how": ("<IsTruncated>false", "<IsTruncated>true"),
    "does not say whether it ends": ("<IsTruncated>false</IsTruncated>", ""),
    "goes on in circles": (
        "<IsTruncated>false</IsTruncated>",
        "<IsTruncated>true</IsTruncated><NextContinuationToken>c29tZS9mb2xkZXIvc25hcHNob3RzLw==</NextContinuationToken>",
    ),
    "has objects of another folder": ("<Key>[^<]*</Key>", "<Key>elsewhere/x</Key>"),
    "has fewer objects than it says": ("<KeyCount>1<", "<KeyCount>7<"),
}


@pytest.mark.parametrize("lie", LIES)
def test_s09_a_listing_that_cannot_be_whole_is_an_error_not_a_shorter_one(
    rclone: S3Server, tmp_path: Path, lie: str
) -> None:
    with behind(rclone, tmp_path, _listed(LIES[lie]), patience=IMPATIENT) as there:
        there.direct.put("snapshots/one", [b"x"])
        with pytest.raises(TransientError, match="listing"):
            list(there.store.list("snapshots"))


@pytest.mark.parametrize("code", ["404 NoSuchBucket", "403 AccessDenied", "500 InternalError"])
def test_s08_a_listing_that_fails_is_never_an_empty_one(rclone: S3Server, tmp_path: Path, code: str) -> None:
    status, name = code.split()
    fault = WireFault("GET", "list-type=2", status=int(status), code=name, times=99)
    with behind(rclone, tmp_path, fault, patience=IMPATIENT) as there, pytest.raises(BackupError):
        list(there.store.list("snapshots"))


# Uploads in parts


@pytest.mark.parametrize(("path", "size"), [(NAME, 10), ("uploadId", len(BIG))], ids=["one request", "parts"])
def test_a_server_that_keeps_conditions_is_not_looked_at_first_and_a_lost_answer_is_no_conflict(
    swift: S3Server, tmp_path: Path, path: str, size: int
) -> None:
    """As on Amazon: the first request did its work, and we look before the second one."""
    fault = WireFault("PUT" if size == 10 else "POST", path, cut="after")
    with behind(swift, tmp_path, fault, trusted=True) as there:
        there.store.put(NAME, [BIG[:size]])
        assert there.store.traffic().requests("HeadObject") == 1
        assert there.direct.get(NAME) == BIG[:size]
        with pytest.raises(ConflictError):
            there.store.put(NAME, [b"other"])
        assert there.store.traffic().requests("HeadObject") == 1


def test_a_large_object_goes_in_parts_and_comes_back(server: S3Server, tmp_path: Path) -> None:
    with behind(server, tmp_path) as there:
        there.store.put(NAME, [BIG[: 1 << 20], BIG[1 << 20 :]])
        assert there.direct.get(NAME) == BIG
        assert there.store.traffic().requests("UploadPart") == 3
        with pytest.raises(ConflictError):
            there.store.put(NAME, [BIG])
        assert there.uploads() == 0


@pytest.mark.parametrize(
    "fault",
    [
        WireFault("PUT", "partNumber=2", cut="before", times=2),
        WireFault("PUT", "partNumber=3", cut="after"),
        WireFault("POST", "uploads", cut="after"),
        WireFault("POST", "uploadId", cut="after"),
        WireFault("POST", "uploadId", cut="before"),
        WireFault("PUT", "partNumber=2", status=404, code="NoSuchUpload"),
    ],
    ids=["a part", "a part's answer", "the beginning's answer", "the end's answer", "the end", "the upload is lost"],
)
def test_an_upload_in_parts_survives_any_cut(server: S3Server, tmp_path: Path, fault: WireFault) -> None:
    fault.seen = fault.fired = 0
    with behind(server, tmp_path, fault) as there:
        there.store.put(NAME, [BIG])
        assert there.direct.get(NAME) == BIG
        there.direct.sweep("data")  # what a lost answer to the beginning has left
        assert there.uploads() == 0


def test_an_upload_that_fails_is_aborted(server: S3Server, tmp_path: Path) -> None:
    fault = WireFault("PUT", "partNumber=2", status=507, code="InsufficientStorage", times=9)
    with behind(server, tmp_path, fault) as there:
        with pytest.raises(SpaceError):
            there.store.put(NAME, [BIG])
        assert there.uploads() == 0
        assert list(there.direct.list("data")) == []


def test_uploads_of_a_process_that_died_are_swept_below_their_folder_only(server: S3Server, tmp_path: Path) -> None:
    with behind(server, tmp_path) as there:
        client = server.client()
        for key in ("some/folder/data/00/x", "some/folder/data/01/y", "some/folder/index/z"):
            client.create_multipart_upload(Bucket=there.bucket, Key=key)
        assert there.store.sweep("data") == 2
        assert there.store.sweep("data") == 0
        assert there.uploads() == 1


# A whole backup through a bad network


def test_a_backup_and_a_restore_through_a_bad_network_lose_nothing(rclone: S3Server, tmp_path: Path) -> None:
    tree = small_tree(tmp_path / "tree")
    faults = [
        WireFault("PUT", "/data/", cut="after", first=1),
        WireFault("PUT", "/index/", status=503, code="SlowDown", times=3),
        WireFault("PUT", "/snapshots/", cut="after"),
        WireFault("PUT", "/locks/", cut="after"),
        WireFault("GET", "/data/", cut="halfway", times=3),
        WireFault("GET", "list-type=2", status=500, code="InternalError", first=2, times=2),
        WireFault("DELETE", "/locks/", cut="after"),
    ]
    with behind(rclone, tmp_path, *faults) as there:
        create(there.store)
        saved = back_up(opened(there.store), tree)
        assert check(opened(there.direct)).findings == []
        assert restored_differences(opened(there.store), saved.snapshot, tree, tmp_path / "target") == []
        assert list(there.direct.list("locks")) == []


@pytest.mark.parametrize("survive", some_quick(range(14), {1, 5, 9}))
def test_a_backup_whose_server_goes_away_for_good_is_whole_or_not_there(
    rclone: S3Server, tmp_path: Path, survive: int
) -> None:
    tree = small_tree(tmp_path / "tree")
    fault = WireFault("PUT", "/", status=500, code="InternalError", first=survive, times=10_000)
    with S3Proxy(rclone, []) as proxy:
        there = Behind(proxy, tmp_path, QuickClock(), patience=IMPATIENT)
        create(there.store)
        repository: S3Store = there.store
        proxy.faults.append(fault)
        try:
            back_up(opened(repository), tree)
        except BackupError:
            assert fault.fired
        else:
            fault.fired = 1  # it was done before its time came
        assert check(opened(there.direct)).findings == []
        saved = back_up(opened(there.direct), tree, settings=ONE_PACK)
        assert restored_differences(opened(there.direct), saved.snapshot, tree, tmp_path / "target") == []


@pytest.mark.parametrize("survive", some_quick(range(10), {2, 6}))
def test_a_prune_whose_server_goes_away_for_good_harms_no_snapshot(
    rclone: S3Server, tmp_path: Path, survive: int
) -> None:
    tree = small_tree(tmp_path / "tree")
    with S3Proxy(rclone, []) as proxy:
        there = Behind(proxy, tmp_path, QuickClock(), patience=IMPATIENT)
        create(there.direct)
        first = back_up(opened(there.direct), tree, settings=ONE_PACK)
        write(tree / "folder 0" / "file 0", b"changed" * 500)
        saved = back_up(opened(there.direct), tree, settings=ONE_PACK)
        forget(opened(there.direct), first.id)
        repository = opened(there.store)
        fault = WireFault("PUT|DELETE", status=500, code="InternalError", first=survive, times=10_000)
        proxy.faults.append(fault)
        try:
            prune(repository)
        except BackupError:
            assert fault.fired
        else:
            fault.fired = 1  # it was done before its time came
        for name, _ in list(there.direct.list("locks")):
            there.direct.delete(name)  # as the next process would: this one is alive, so its lock counts
        assert check(opened(there.direct)).findings == []
        assert restored_differences(opened(there.direct), saved.snapshot, tree, tmp_path / "target") == []
        prune(opened(there.direct))
        assert check(opened(there.direct)).findings == []


def test_a_missing_object_stays_missing_however_the_server_says_it(rclone: S3Server, tmp_path: Path) -> None:
    fault = WireFault("HEAD", NAME, status=404, code="NoSuchKey")
    with behind(rclone, tmp_path, fault) as there, pytest.raises(NotFoundError):
        there.store.size(NAME)
