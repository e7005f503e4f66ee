"""Every mistake with a bucket's credential, name, region, clock or quota says what happened and what to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError, InputError, NotFoundError, SpaceError, UnreachableError
from edurise_backup.model.location import S3Access, parse_s3
from edurise_backup.stores.s3 import S3Settings, S3Store
from tests.support.s3_proxy import S3Proxy, WireFault
from tests.support.s3_servers import S3Server, rclone_server
from tests.support.s3_stores import QuickClock, access_to, new_bucket, store_at

pytestmark = pytest.mark.usefixtures("credential")


def told(error: BackupError) -> str:
    """Return all that a person reads; every error says what is safe and what to do."""
    assert error.safe
    assert error.hint
    return "\n".join(error.lines())


def reach(server: S3Server, access: S3Access, bucket: str = "bucket") -> S3Store:
    return S3Store(parse_s3(server.location(bucket)), access)


@pytest.fixture
def bucket(rclone: S3Server) -> str:
    """Give a bucket of a server that checks signatures."""
    return new_bucket(rclone)


@pytest.mark.parametrize(
    ("access", "secret", "words"),
    [
        ("nobody", "a-canary-of-tests", "knows no such access key"),
        ("tests", "a-canary-that-is-wrong", "refuses the signature"),
    ],
)
@pytest.mark.parametrize("first", ["get", "size", "put", "list"])
def test_a_wrong_key_is_told_whatever_is_asked_first(
    rclone: S3Server, bucket: str, tmp_path: Path, access: str, secret: str, words: str, first: str
) -> None:
    """An answer to HEAD has no body: then a GET is asked why."""
    wrong = access_to(replace(rclone, access_key=access, secret_key=secret), tmp_path)
    store = reach(rclone, wrong, bucket)
    calls: dict[str, Callable[[], object]] = {
        "get": lambda: store.get("config"),
        "size": lambda: store.size("config"),
        "put": lambda: store.put("config", [b"x"]),
        "list": lambda: list(store.list("keys")),
    }
    with pytest.raises(UnreachableError, match=words) as caught:
        calls[first]()
    assert "canary" not in told(caught.value)


def test_without_any_credential_the_places_for_one_are_named(rclone: S3Server, bucket: str) -> None:
    with pytest.raises(UnreachableError, match="there is no credential") as caught:
        reach(rclone, S3Access(allow_plaintext=True), bucket).get("config")
    assert "AWS_ACCESS_KEY_ID" in told(caught.value)


def test_half_a_credential_is_no_credential(rclone: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", rclone.access_key)
    with pytest.raises(UnreachableError, match="there is no credential") as caught:
        reach(rclone, S3Access(allow_plaintext=True), bucket).get("config")
    assert "both" in told(caught.value)


def test_the_environment_and_a_profile_work_like_files(
    rclone: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "shared").write_text(
        f"[backup]\naws_access_key_id = {rclone.access_key}\naws_secret_access_key = {rclone.secret_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(tmp_path / "shared"))
    reach(rclone, S3Access(profile="backup", allow_plaintext=True), bucket).put("index/a", [b"x"])
    for name, value in rclone.environment.items():
        monkeypatch.setenv(name, value)
    assert reach(rclone, S3Access(allow_plaintext=True), bucket).get("index/a") == b"x"
    with pytest.raises(InputError, match="no profile 'other'"):
        reach(rclone, S3Access(profile="other", allow_plaintext=True), bucket).get("index/a")


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read"), (b"", "is empty"), (b"\xff\xfe\x00", "is not text")]
)
def test_a_key_file_that_holds_no_key_is_named(
    rclone: S3Server, bucket: str, tmp_path: Path, content: bytes | None, words: str
) -> None:
    access = access_to(rclone, tmp_path)
    Path(access.secret_key_file).unlink()
    if content is not None:
        Path(access.secret_key_file).write_bytes(content)
    with pytest.raises(InputError, match=words):
        reach(rclone, access, bucket).get("config")


def test_one_key_file_alone_is_refused(rclone: S3Server, bucket: str, tmp_path: Path) -> None:
    access = replace(access_to(rclone, tmp_path), secret_key_file="")
    with pytest.raises(InputError, match="only one of the two keys"):
        reach(rclone, access, bucket).get("config")


@pytest.mark.parametrize("kind", ["rclone", "swift"])
def test_a_bucket_that_is_not_there_is_told_and_not_made(
    kind: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server: S3Server = request.getfixturevalue(kind)
    store = store_at(server, "no-such-bucket", tmp_path)
    for call in (lambda: store.get("config"), lambda: store.put("config", [b"x"]), lambda: list(store.list("keys"))):
        with pytest.raises(NotFoundError, match="there is no bucket 'no-such-bucket'") as caught:
            call()
        assert "made" in told(caught.value)


def test_plain_http_is_refused_unless_it_is_allowed(rclone: S3Server, bucket: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="plain http") as caught:
        reach(rclone, replace(access_to(rclone, tmp_path), allow_plaintext=False), bucket)
    assert "allow_plaintext" in told(caught.value)


def test_a_certificate_is_verified_by_the_authorities_that_are_named(tmp_path: Path) -> None:
    with rclone_server(tmp_path / "server", tls=True) as server:
        (tmp_path / "server" / "buckets" / "bucket").mkdir()
        access = replace(access_to(server, tmp_path), allow_plaintext=False)
        with pytest.raises(UnreachableError, match="cannot be trusted") as caught:
            reach(server, access).get("config")
        assert "ca_file" in told(caught.value)
        trusting = reach(server, replace(access, ca_file=str(tmp_path / "server" / "server.pem")))
        trusting.put("config", [b"over TLS"])
        assert trusting.get("config") == b"over TLS"


def test_a_tls_connection_that_is_cut_is_tried_again(rclone: S3Server, tmp_path: Path) -> None:
    """A cut while the two greet each other is no question of trust."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        cut: list[int] = []

        def cut_all() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                connection.recv(10)
                connection.close()
                cut.append(1)

        threading.Thread(target=cut_all, daemon=True).start()
        place = parse_s3(f"s3:https://127.0.0.1:{listening.getsockname()[1]}/bucket")
        store = S3Store(place, access_to(rclone, tmp_path), S3Settings(timing=QuickClock().timing))
        with pytest.raises(UnreachableError, match="does not answer"):
            store.get("config")
        listening.shutdown(socket.SHUT_RDWR)
    assert len(cut) > 3


def test_authorities_that_are_not_there_are_told(
    rclone: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = replace(access_to(rclone, tmp_path), ca_file=str(tmp_path / "none.pem"))
    with pytest.raises(InputError, match=r"there is no .*none\.pem"):
        reach(rclone, access).get("config")
    monkeypatch.setenv("AWS_CA_BUNDLE", str(tmp_path / "none.pem"))
    place = parse_s3(f"s3:https://127.0.0.1:{rclone.port}/bucket")
    with pytest.raises(UnreachableError, match="cannot be trusted") as caught:
        S3Store(place, access_to(rclone, tmp_path)).get("config")
    assert "AWS_CA_BUNDLE" in told(caught.value)


def test_a_port_that_does_not_speak_tls_is_told(rclone: S3Server, tmp_path: Path) -> None:
    place = parse_s3(f"s3:https://127.0.0.1:{rclone.port}/bucket")
    with pytest.raises(UnreachableError, match="TLS") as caught:
        S3Store(place, access_to(rclone, tmp_path)).get("config")
    assert "speaks TLS" in told(caught.value)


REFUSALS: dict[str, tuple[WireFault, type[BackupError], str, str]] = {
    "an expired token": (
        WireFault("GET", status=400, code="ExpiredToken"),
        UnreachableError,
        "has expired",
        "new session token",
    ),
    "a token of other keys": (WireFault("GET", status=400, code="InvalidToken"), UnreachableError, "token", "unset"),
    "a clock that is wrong": (
        WireFault(
            "GET",
            status=403,
            code="RequestTimeTooSkewed",
            headers=(("Date", "Fri, 01 Jan 2027 10:00:00 GMT"),),
        ),
        UnreachableError,
        "its own says 2027-01-01 10:00:00",
        "NTP",
    ),
    "a wrong region, named": (
        WireFault(
            "GET", status=301, code="PermanentRedirect", headers=(("x-amz-bucket-region", "eu-central-9"),), times=9
        ),
        UnreachableError,
        "is in the region eu-central-9",
        "to eu-central-9",
    ),
    "a wrong region": (
        WireFault("GET", status=301, code="PermanentRedirect", times=9),
        UnreachableError,
        "does not say which",
        "AWS_DEFAULT_REGION",
    ),
    "a credential that may not read": (
        WireFault("GET", status=403, code="AccessDenied"),
        UnreachableError,
        "may not do GetObject",
        "policies",
    ),
    "an object in an archive": (
        WireFault("GET", status=403, code="InvalidObjectState"),
        InputError,
        "archive",
        "lifecycle",
    ),
}


@pytest.mark.parametrize("mistake", REFUSALS)
def test_what_a_server_refuses_is_told_with_what_to_do(
    rclone: S3Server, bucket: str, tmp_path: Path, mistake: str
) -> None:
    fault, kind, words, hint = REFUSALS[mistake]
    fault.seen = fault.fired = 0
    with S3Proxy(rclone, [fault]) as proxy:
        store = store_at(proxy.server, bucket, tmp_path)
        with pytest.raises(kind, match=words) as caught:
            store.get("config")
    assert hint in told(caught.value)


@pytest.mark.parametrize(
    ("status", "code", "kind", "words"),
    [
        (403, "AccessDenied", UnreachableError, "it may only read"),
        (403, "QuotaExceeded", SpaceError, "raise the quota"),
        (507, "InsufficientStorage", SpaceError, "raise the quota"),
        (413, "EntityTooLarge", SpaceError, "raise the quota"),
    ],
)
def test_a_put_that_is_refused_says_why_and_leaves_nothing(
    rclone: S3Server, bucket: str, tmp_path: Path, status: int, code: str, kind: type[BackupError], words: str
) -> None:
    with S3Proxy(rclone, [WireFault("PUT", status=status, code=code)]) as proxy:
        with pytest.raises(kind) as caught:
            store_at(proxy.server, bucket, tmp_path).put("data/ab/x", [b"x"])
        assert words in told(caught.value)
        assert list(store_at(rclone, bucket, tmp_path).list("data")) == []


def test_a_writer_that_may_not_delete_is_told_so(rclone: S3Server, bucket: str, tmp_path: Path) -> None:
    with (
        S3Proxy(rclone, [WireFault("DELETE", status=403, code="AccessDenied")]) as proxy,
        pytest.raises(UnreachableError, match="may not do DeleteObject") as caught,
    ):
        store_at(proxy.server, bucket, tmp_path).delete("data/ab/x")
    assert "locks/" in told(caught.value)


def test_a_wrong_region_that_the_server_names_is_put_right(swift: S3Server, tmp_path: Path) -> None:
    """As stock restic finds the region out: the first request is refused with its name, and asked again."""
    bucket = new_bucket(swift)
    access = replace(access_to(swift, tmp_path), region="mars-north-1")
    store = S3Store(parse_s3(swift.location(bucket)), access)
    store.put("config", [b"x"])
    assert store.get("config") == b"x"
    assert store.size("config") == 1
