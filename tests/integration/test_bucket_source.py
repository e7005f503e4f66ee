"""A bucket as a source, on real servers: every byte and every header, and no request for what did not change."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from edurise_backup.model.content import BlobKind, Node
from edurise_backup.model.objects import KEY, attributes_by_name, headers_of
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Saved
from tests.support import engine
from tests.support.buckets import (
    HOSTILE_KEYS,
    PLAIN_KEYS,
    Object,
    Saving,
    described,
    fill,
)
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import new_bucket

pytestmark = pytest.mark.usefixtures("credential")


@pytest.fixture(params=["rclone", pytest.param("swift", marks=pytest.mark.slow)])
def server(request: pytest.FixtureRequest) -> S3Server:
    """Give one server of each kind."""
    found = request.getfixturevalue(request.param)
    assert isinstance(found, S3Server)
    return found


@pytest.fixture
def repository() -> Repository:
    """Give an empty repository."""
    return engine.create()


def saved_files(repository: Repository, saved: Saved, top: str = "/buckets/uploads/") -> dict[str, Node]:
    """Return the files below `top` by the key that they tell."""
    repository.load_index()
    found = {}
    for path, node in walk_files(repository, saved.snapshot.tree):
        if node.type == "file" and path.startswith(top):
            told = attributes_by_name(node).get(KEY)
            found[path[len(top) :] if told is None else told.decode()] = node
    return found


def content(repository: Repository, node: Node) -> bytes:
    return b"".join(repository.read_blob(BlobKind.DATA, blob_id_of(name)) for name in node.content or ())


def blob_id_of(name: str):  # type: ignore[no-untyped-def]
    from edurise_backup.model.content import BlobId

    return BlobId(bytes.fromhex(name))


def described_in_snapshot(repository: Repository, saved: Saved) -> dict[str, Object]:
    """Describe the objects of a snapshot as those of a bucket are described."""
    found = {}
    for key, node in saved_files(repository, saved).items():
        told = dict.fromkeys(
            ("ContentType", "CacheControl", "ContentDisposition", "ContentEncoding", "ContentLanguage")
        )
        told |= {"Metadata": {}, **headers_of(node.extended_attributes), "ContentLength": node.size}
        found[key] = Object(hashlib.sha256(content(repository, node)).hexdigest(), told)
    return found


def keys_for(server: S3Server) -> tuple[str, ...]:
    """Return the keys that the server can hold: rclone's are paths of files."""
    return PLAIN_KEYS if server.kind == "rclone" else (*PLAIN_KEYS, *HOSTILE_KEYS)


def test_every_byte_and_header_of_every_object_is_in_the_snapshot(
    server: S3Server, repository: Repository, tmp_path: Path
) -> None:
    saving = Saving(server, new_bucket(server), tmp_path)
    fill(server, saving.bucket, keys_for(server))
    saved = saving.save(repository, page=7)
    assert saved.archived.problems == ()
    assert described_in_snapshot(repository, saved) == described(server, saving.bucket)
