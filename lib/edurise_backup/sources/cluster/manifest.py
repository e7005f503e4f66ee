"""Compare a base backup that was sent with the manifest that its server sent after it.

Source: the PostgreSQL manual, "Backup Manifest Format".
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import msgspec

from edurise_backup.errors import SourceError
from edurise_backup.sources.cluster.tar_stream import Seen

_SHOWN = 5


class _File(msgspec.Struct, rename={"path": "Path", "encoded": "Encoded-Path", "size": "Size", "sum": "Checksum"}):
    size: int
    path: str = ""
    encoded: str = ""
    sum: str = ""


class _Manifest(msgspec.Struct, rename={"files": "Files", "own": "Manifest-Checksum"}):
    files: list[_File]
    own: str


def check_manifest(content: bytes, seen: Mapping[str, Seen]) -> None:
    """Raise SourceError unless every file arrived as the server read it, and no other did."""
    try:
        manifest = msgspec.json.decode(content, type=_Manifest)
    except msgspec.DecodeError as error:
        raise _differs([f"the manifest cannot be read: {error}"]) from error
    end = content.rfind(b'"Manifest-Checksum"')
    troubles = []
    if hashlib.sha256(content[:end]).hexdigest() != manifest.own:
        troubles.append("the manifest itself has another checksum")
    listed = {
        file.path or bytes.fromhex(file.encoded).decode("utf-8", "surrogateescape"): file for file in manifest.files
    }
    for path, file in listed.items():
        found = seen.get(path)
        if found is None:
            troubles.append(f"{path} did not arrive")
        elif found.size != file.size or (file.sum and found.checksum.to_bytes(4, "little").hex() != file.sum):
            troubles.append(f"{path} arrived with other bytes")
    troubles += [f"{path} is in no manifest" for path in seen.keys() - listed.keys()]
    if troubles:
        raise _differs(troubles)


def _differs(troubles: list[str]) -> SourceError:
    more = f" and {len(troubles) - _SHOWN} more" if len(troubles) > _SHOWN else ""
    return SourceError(
        f"what the server sent is not what it says that it sent: {'; '.join(troubles[:_SHOWN])}{more}",
        safe="nothing was published; earlier backups are whole",
        hint="run the backup again; when it comes again, look at the network and the memory of both machines",
    )
