"""What is said between a job and its workers: orders, which name things and hold no secret, and how they are sent."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

import msgspec

from edurise_backup.model.shards import Range
from edurise_backup.model.snapshot import Snapshot
from edurise_backup.model.traffic import Count, Traffic
from edurise_backup.recovery.sharding import PackOrder


class Order(msgspec.Struct, frozen=True, kw_only=True, tag=True):
    """Part of a job, about one repository."""

    job: UUID
    number: int
    store: str
    """The name of the store, as settings and catalog know it."""
    repository: str
    """The id of the repository there."""
    cores: int = 0
    """How many processors it may use; 0: all of its machine."""


class ArchiveOrder(Order, frozen=True, kw_only=True):
    """Store ranges of a source."""

    source: str
    likeness: str
    """What of its settings must be the same here."""
    devices: tuple[int, ...]
    """The numbers of the paths' file systems where the job was started."""
    ranges: tuple[Range, ...]
    parent: Snapshot | None
    lost: tuple[str, ...]
    compression: str


class ExamineOrder(Order, frozen=True, kw_only=True):
    """Read whole packs and prove what is in them."""

    packs: tuple[str, ...]


class BringOrder(Order, frozen=True, kw_only=True):
    """Write the blobs of packs to their places below a directory that all workers see."""

    target: str
    packs: tuple[PackOrder, ...]
    helped: bool
    """Whether another store steps in for what this one does not give: then a worker is not patient with it."""


class ProveOrder(Order, frozen=True, kw_only=True):
    """Read what was restored of ranges of a tree, and compare it with the snapshot."""

    target: str
    tree: str
    ranges: tuple[Range, ...]
    helped: bool
    """As for `BringOrder`."""


AnyOrder = ArchiveOrder | ExamineOrder | BringOrder | ProveOrder
_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(AnyOrder)


def encode_order(order: Order) -> bytes:
    """Return an order as it is sent."""
    return _encoder.encode(order)


def decode_order(encoded: bytes) -> AnyOrder:
    """Return an order that was sent."""
    found: AnyOrder = _decoder.decode(encoded)
    return found


def encode_answer(answer: object, traffic: Traffic) -> bytes:
    """Return what a worker answers as it is sent, with what it asked of the store."""
    return _encoder.encode((answer, dict(traffic.operations)))


def decode_answer(answer: bytes, kind: type) -> tuple[object, Traffic]:
    """Return what a worker has answered, and what it asked of the store."""
    found, operations = msgspec.msgpack.decode(answer, type=tuple[kind, dict[str, Count]])  # type: ignore[valid-type]
    return found, Traffic(operations)


def in_lots(packs: Sequence[str], sizes: dict[str, int], lots: int) -> list[list[str]]:
    """Deal packs out in neighbouring lots of similar size."""
    total = sum(sizes[pack] for pack in packs)
    dealt: list[list[str]] = [[] for _ in range(lots)]
    before = 0
    for pack in packs:
        dealt[min(lots - 1, before * lots // max(1, total))].append(pack)
        before += sizes[pack]
    return [lot for lot in dealt if lot]
