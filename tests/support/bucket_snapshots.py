"""What a snapshot holds of a bucket, and what a bucket holds, in one form; to compare them."""

from __future__ import annotations

import hashlib
from datetime import timedelta

from edurise_backup.model.content import BlobId, BlobKind, Node
from edurise_backup.model.objects import DELETE_MARKER, KEY, VERSION_ID, attributes_by_name, headers_of
from edurise_backup.recovery.planning import walk_files
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.saving import Saved
from tests.support.buckets import HOSTILE_KEYS, PLAIN_KEYS, Object
from tests.support.s3_servers import S3Server

BEFORE = timedelta(hours=-1)
"""An object counts as old although it was just made: tests of all but that rule need not wait."""


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
    """Read the bytes of a node."""
    return b"".join(repository.read_blob(BlobKind.DATA, BlobId(bytes.fromhex(name))) for name in node.content or ())


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


def described_older(repository: Repository, saved: Saved) -> set[tuple[str, str, bytes, bool]]:
    """Describe the versions of a snapshot that are not current, and the deletions."""
    found = set()
    for path, node in walk_files(repository, saved.snapshot.tree):
        if node.type == "file" and path.startswith("/bucket-versions/uploads/"):
            told = attributes_by_name(node)
            place = (told[KEY].decode(), told[VERSION_ID].decode())
            found.add((*place, content(repository, node), DELETE_MARKER in told))
    return found


def listed_older(server: S3Server, bucket: str) -> set[tuple[str, str, bytes, bool]]:
    """List those of a bucket."""
    client = server.client()
    listed = client.list_object_versions(Bucket=bucket)
    found = {(one["Key"], one["VersionId"], b"", True) for one in listed["DeleteMarkers"]}
    for one in listed["Versions"]:
        if not one["IsLatest"]:
            answer = client.get_object(Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"])
            found.add((one["Key"], one["VersionId"], answer["Body"].read(), False))
    return found
