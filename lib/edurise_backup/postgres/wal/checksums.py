"""CRC-32C of many records at once: it proves every record of a segment in a tenth of a second.

Two bytes are one step through a table of 65,536 entries, eight bytes four of
them. Numpy does the same step for all records that are still that long; long
records are cut into lanes that run beside each other, because a checksum of
what comes after zeros is a linear function of the checksum of it alone.
"""

from __future__ import annotations

from functools import cache

import numpy
from numpy.typing import NDArray

from edurise_backup.postgres.wal.layout import RECORD_HEADER, Bytes, Numbers

_POLYNOMIAL = 0x82F63B78
_LANE = 64
"""Words of 8 bytes in a lane."""
_HALF = 0xFFFF
_SEED = 0xFFFFFFFF

Table = NDArray[numpy.int64]


@cache
def _byte_table() -> Table:
    table = numpy.arange(256, dtype=numpy.int64)
    for _ in range(8):
        table = (table >> 1) ^ numpy.where(table & 1, _POLYNOMIAL, 0)
    return table


@cache
def _tables() -> tuple[Table, Table, Table, Table]:
    """Return what two bytes become, followed by no, two, four and six bytes of zero."""
    byte, values = _byte_table(), numpy.arange(65536, dtype=numpy.int64)
    low = byte[values & 0xFF]
    first = (low >> 8) ^ byte[(low ^ values >> 8) & 0xFF]
    second = _followed(first, first)
    third = _followed(second, first)
    return first, second, third, _followed(third, first)


def _followed(state: Numbers, table: Table) -> Numbers:
    """Return the states after two bytes of zero."""
    result: Numbers = table[state & _HALF] ^ (state >> 16)
    return result


@cache
def _lane_tables() -> tuple[Table, Table]:
    """Return what the low and the high half of a state become behind a lane of zeros."""
    basis = numpy.left_shift(1, numpy.arange(32, dtype=numpy.int64))
    for _ in range(_LANE * 4):
        basis = _followed(basis, _tables()[0])
    return _spanned(basis[:16]), _spanned(basis[16:])


def _spanned(basis: Numbers) -> Table:
    table = numpy.zeros(1, numpy.int64)
    for image in basis:
        table = numpy.concatenate([table, table ^ image])
    return table


def checksums(stream: Bytes, starts: Numbers, lengths: Numbers) -> Numbers:
    """Return the CRC-32C that each record should carry; starts are multiples of 8, the stream is padded.

    A record's checksum covers what follows its header, and then the header
    up to the checksum (`xlogrecord.h`).
    """
    words = stream[: len(stream) & ~7].view("<i8")
    first = (starts + RECORD_HEADER) >> 3
    full, tail = (lengths - RECORD_HEADER) >> 3, (lengths - RECORD_HEADER) & 7
    state = _whole_lanes(words, first, full // _LANE)
    state = _words(words, first + full // _LANE * _LANE, full % _LANE, state)
    state = _rest(words[first + full], tail, state)
    state = _word(words[starts >> 3], state)
    state = _word(words[(starts >> 3) + 1], state)
    return _four_bytes(words[(starts >> 3) + 2], state) ^ _SEED


def _word(words: Numbers, state: Numbers) -> Numbers:
    first, second, third, fourth = _tables()
    mixed = words ^ state
    result: Numbers = fourth[mixed & _HALF]
    result ^= third[(mixed >> 16) & _HALF]
    result ^= second[(mixed >> 32) & _HALF]
    result ^= first[(mixed >> 48) & _HALF]
    return result


def _four_bytes(words: Numbers, state: Numbers) -> Numbers:
    first, second, *_ = _tables()
    mixed = words ^ state
    result: Numbers = second[mixed & _HALF] ^ first[(mixed >> 16) & _HALF]
    return result


def _words(words: Numbers, first: Numbers, counts: Numbers, state: Numbers) -> Numbers:
    """Return the states after `counts` words each, the longest kept in front."""
    order = numpy.argsort(-counts, kind="stable")
    places, ordered, descending = first[order], state[order], -counts[order]
    for step in range(int(counts.max(initial=0))):
        active = int(numpy.searchsorted(descending, -step))
        ordered[:active] = _word(words[places[:active] + step], ordered[:active])
    result = numpy.empty_like(state)
    result[order] = ordered
    return result


def _whole_lanes(words: Numbers, first: Numbers, lanes: Numbers) -> Numbers:
    """Return the states after each record's whole lanes."""
    state = numpy.full(len(first), _SEED, numpy.int64)
    long = numpy.flatnonzero(lanes)
    if not len(long):
        return state
    counts = lanes[long]
    behind = numpy.cumsum(counts)
    within = numpy.arange(behind[-1]) - numpy.repeat(behind - counts, counts)
    places = numpy.repeat(first[long], counts) + within * _LANE
    alone = numpy.zeros(len(places), numpy.int64)
    for step in range(_LANE):
        alone = _word(words[places + step], alone)
    state[long] = _joined(alone, behind - counts, counts, state[long])
    return state


def _joined(alone: Numbers, begin: Numbers, counts: Numbers, state: Numbers) -> Numbers:
    low, high = _lane_tables()
    for step in range(int(counts.max())):
        active = numpy.flatnonzero(counts > step)
        before = state[active]
        state[active] = low[before & _HALF] ^ high[before >> 16] ^ alone[begin[active] + step]
    return state


def _rest(words: Numbers, tail: Numbers, state: Numbers) -> Numbers:
    """Return the states after the last 0 to 7 bytes."""
    state = numpy.where(tail & 4, _four_bytes(words, state), state)
    words = numpy.where(tail & 4, words >> 32, words)
    two = _tables()[0][(words ^ state) & _HALF] ^ (state >> 16)
    state = numpy.where(tail & 2, two, state)
    words = numpy.where(tail & 2, words >> 16, words)
    one = _byte_table()[(words ^ state) & 0xFF] ^ (state >> 8)
    return numpy.where(tail & 1, one, state)
