"""Prove packs on several workers: each reads whole packs, whoever has the index judges what they say of themselves."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from edurise_backup.errors import BackupError, DamageError, NotFoundError
from edurise_backup.pipeline.codec import Scratch
from edurise_backup.ports import Progress
from edurise_backup.repository.index import Index
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.repository import Repository
from edurise_backup.verification.packs import Examined, PackProof, examine, judged


def examine_packs(
    repository: Repository, packs: Sequence[str], *, progress: Progress
) -> Iterator[tuple[str, Examined]]:
    """Yield (pack, what its bytes say); needs no index. One that the store does not give has no bytes."""
    scratch = Scratch()
    for pack in packs:
        progress.raise_if_cancelled()
        try:
            content = repository.store.get(object_name(Kind.PACK, pack))
        except BackupError as error:
            gone = "" if isinstance(error, DamageError | NotFoundError) else _STORE
            yield pack, Examined(0, b"", [f"{gone}pack {pack[:8]}: {error.message}"])
            continue
        yield pack, examine(content, pack, key=repository.box.key, scratch=scratch, pause=progress.raise_if_cancelled)
        progress.advance(bytes_done=len(content), files_done=1)


_STORE = "the store failed: "


def proof_of(examined: Examined, pack: str, index: Index) -> PackProof:
    """Judge what a worker has found."""
    if not examined.size:
        damaged = not examined.findings[0].startswith(_STORE)
        return PackProof(pack, 0, findings=tuple(examined.findings), damaged=damaged)
    return judged(examined, pack, index)
