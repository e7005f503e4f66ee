"""Which packs a repair looks into: those that are named, that checks have noted, or that reading finds now.

Here what checks know meets the repair, which itself knows only the packs that it is given.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from edurise_backup.errors import AmbiguousError, DamageError, NotFoundError
from edurise_backup.ports import Progress
from edurise_backup.repository.layout import Kind, object_id
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.repairing.pack_repair import PackRepairPlan, apply_pack_repair
from edurise_backup.repository.repository import Repository
from edurise_backup.repository.writer import WriterSettings
from edurise_backup.verification.checker import check
from edurise_backup.verification.suspects import Suspects, clear_suspects, load_suspects


@dataclass(frozen=True, slots=True)
class ChosenPacks:
    """Packs to look into, and the notes of earlier checks that name them."""

    packs: tuple[str, ...]
    suspects: Suspects


def choose_packs(repository: Repository, words: Sequence[str], *, read_data: bool, progress: Progress) -> ChosenPacks:
    """Return the packs that are named by their ids or their beginnings; without names those that seem damaged.

    These are what checks have noted and packs of a wrong size; with `read_data`
    every pack is read, too. Nothing is written. Raises NotFoundError, AmbiguousError,
    DamageError when an index file is not readable.
    """
    try:
        index = repository.load_index()
    except DamageError as error:
        raise DamageError(
            f"the index is damaged: {error.message}", safe="nothing was changed", hint="run `repair index` first"
        ) from error
    listed = repository.store.list(Kind.PACK)
    sizes = {pack: size for name, size in listed if (pack := object_id(name)) is not None}
    suspects = load_suspects(repository.box)
    known = sizes.keys() | set(index.packs)
    if words:
        return ChosenPacks(tuple(dict.fromkeys(_named(word, known) for word in words)), Suspects(frozenset(), ()))
    found = {pack for pack, size in index.sizes() if pack in sizes and sizes[pack] != size}
    found |= suspects.packs & known  # a prune may have removed others since
    if read_data:
        found.update(check(repository, progress=progress, read_data=True, record=False).damaged_packs)
    return ChosenPacks(tuple(sorted(found)), suspects)


def repair_chosen(
    repository: Repository,
    chosen: ChosenPacks,
    plan: PackRepairPlan,
    lock: Lock,
    *,
    progress: Progress,
    settings: WriterSettings | None = None,
) -> list[str]:
    """Do what a plan for the chosen packs says; return the names under which the damaged packs are kept.

    The notes that named them go last, and stay when a pack could not be read.
    """
    kept = apply_pack_repair(repository, plan, lock, progress=progress, settings=settings)
    if not plan.unread:
        clear_suspects(repository.box, chosen.suspects)
    return kept


def _named(word: str, packs: Iterable[str]) -> str:
    found = sorted(pack for pack in packs if pack.startswith(word.lower())) if word else []
    if not found:
        raise NotFoundError(f"no pack is named {word!r}", hint="`repo check --read-data` names the damaged ones")
    if len(found) > 1:
        raise AmbiguousError(f"{word!r} names {len(found)} packs", hint="give more digits of the id")
    return found[0]
