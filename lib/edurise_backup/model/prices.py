"""What a provider asks for requests, storage and egress. Pure; the prices are the operator's own, none is built in."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from edurise_backup.model.store_settings import PriceSettings
from edurise_backup.model.traffic import Traffic

GIB = 1 << 30
_FREE = {"DeleteObject", "DeleteObjects", "AbortMultipartUpload"}
_READS = {"GetObject", "HeadObject", "HeadBucket"}
"""Everything else is priced like a write, as providers do with listings and questions about a bucket."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What is asked of a store, as providers price it."""

    writes: int = 0
    reads: int = 0
    received: int = 0
    """Bytes that leave the store."""

    def __add__(self, other: Demand) -> Demand:
        return Demand(self.writes + other.writes, self.reads + other.reads, self.received + other.received)

    def times(self, factor: float) -> Demand:
        """Return as much more, or less, of everything."""
        return Demand(round(self.writes * factor), round(self.reads * factor), round(self.received * factor))


@dataclass(frozen=True, slots=True)
class Price:
    """An amount of money with its parts."""

    currency: str
    requests: float = 0.0
    storage: float = 0.0
    egress: float = 0.0

    @property
    def total(self) -> float:
        """All of it."""
        return self.requests + self.storage + self.egress

    def __str__(self) -> str:
        digits = 2 if not self.total or self.total >= 0.1 else 4
        return f"{self.total:.{digits}f} {self.currency}"


@dataclass(frozen=True, slots=True)
class Month:
    """What a calendar month (UTC) is going to be, going on as until now."""

    demand: Demand
    stored: int
    price: Price | None
    """None without prices."""


def demand_of(traffic: Traffic) -> Demand:
    """Sort a traffic's requests into those that providers price alike."""
    writes = reads = 0
    for operation, count in traffic.operations.items():
        if operation in _READS:
            reads += count.requests
        elif operation not in _FREE:
            writes += count.requests
    return Demand(writes, reads, traffic.total.received)


def price_of(prices: PriceSettings, demand: Demand, *, stored: float = 0) -> Price | None:
    """Return what a demand, and `stored` bytes for a month, cost; None when nobody has said what they do."""
    if not prices.currency:
        return None
    requests = demand.writes / 1000 * prices.writes_per_1000 + demand.reads / 1000 * prices.reads_per_1000
    egress, storage = demand.received / GIB * prices.egress_gib, stored / GIB * prices.storage_gib_month
    return Price(prices.currency, requests, storage, egress)


def estimate_month(prices: PriceSettings, so_far: Demand, *, stored: int, now: datetime) -> Month:
    """Return the whole month, from what was asked since its first day; the first day counts as a whole one."""
    first = month_begin(now)
    following = month_begin(first + timedelta(days=32))
    passed = max(now - first, timedelta(days=1))
    whole = so_far.times((following - first) / passed)
    return Month(whole, stored, price_of(prices, whole, stored=stored))


def month_begin(moment: datetime) -> datetime:
    """Return the first moment of the month."""
    return moment.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
