"""Have index files no longer list packs that go: new files first, then the old ones are removed.

Only files that list such a pack are written anew, packs as they stood in them;
many small files are joined on the way, and a pack that two files list is
listed once.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator

import msgspec

from edurise_backup.errors import DamageError
from edurise_backup.ports import Progress
from edurise_backup.repository.index_files import encode_index
from edurise_backup.repository.layout import Kind, object_name
from edurise_backup.repository.removals import take_away
from edurise_backup.repository.survey import Survey
from edurise_backup.repository.writer import INDEX_BLOBS

_SMALL = INDEX_BLOBS // 4
_MANY = 8
"""More index files than this of less than `_SMALL` blobs are joined."""


class _Pack(msgspec.Struct):
    id: str
    blobs: msgspec.Raw


class _File(msgspec.Struct):
    packs: list[_Pack]


_decoder = msgspec.json.Decoder(_File)
_encoder = msgspec.json.Encoder()


def rewrite(survey: Survey, dropped: Collection[int], confirm: Callable[[], None], progress: Progress) -> set[str]:
    """Un-index the packs `dropped` (by number), index those that the survey rescued; return the files of now.

    `confirm` proves the exclusive lock; it is asked before the first old file goes.
    """
    dropped = frozenset(dropped)
    listed = bytearray(survey.index.pack_count)
    old = _files_to_replace(survey, dropped, listed)
    there = survey.files.keys() - set(old)
    part, blobs = list[_Pack](), 0
    for pack in _packs_to_list(survey, old, dropped, listed):
        progress.raise_if_cancelled()
        part.append(pack)
        blobs += len(survey.index.blob_range(survey.number(bytes.fromhex(pack.id))))
        if blobs >= INDEX_BLOBS:
            there.add(survey.box.save(Kind.INDEX, _encoder.encode(_File(part))))
            part, blobs = [], 0
    if part:
        there.add(survey.box.save(Kind.INDEX, _encoder.encode(_File(part))))
    if old:
        confirm()
    take_away(survey.box, [object_name(Kind.INDEX, index_id) for index_id in old])
    return there


def _files_to_replace(survey: Survey, dropped: frozenset[int], listed: bytearray) -> list[str]:
    """Return the files that must go; mark in `listed` the packs that the others list."""
    old, small = [], []
    for index_id, packs in survey.files.items():
        if not packs or any(pack in dropped or listed[pack] for pack in packs):
            old.append(index_id)
            continue
        for pack in packs:
            listed[pack] = 1
        if sum(len(survey.index.blob_range(pack)) for pack in packs) < _SMALL:
            small.append(index_id)
    if len(small) > _MANY:
        for index_id in small:
            for pack in survey.files[index_id]:
                listed[pack] = 0
        old += small
    return old


def _packs_to_list(survey: Survey, old: list[str], dropped: frozenset[int], listed: bytearray) -> Iterator[_Pack]:
    """Yield each pack of the old files that stays, and each rescued one, once."""
    for index_id in old:
        try:
            packs = _decoder.decode(survey.box.load(Kind.INDEX, index_id)).packs
        except msgspec.DecodeError as error:
            raise DamageError(f"index {index_id[:8]} is not readable: {error}", safe="nothing was removed") from error
        for pack in packs:
            number = survey.number(bytes.fromhex(pack.id))
            if number not in dropped and not listed[number]:
                listed[number] = 1
                yield pack
    for number in survey.rescued - dropped:
        if not listed[number]:
            blobs = [survey.index.blob(at) for at in survey.index.blob_range(number)]
            yield from _decoder.decode(encode_index([(survey.index.pack_id(number), blobs)])).packs
