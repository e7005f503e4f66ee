"""What was asked of a server: requests and bytes for each operation. They cost money; tests hold a budget to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Count:
    """Requests of one operation, and the bytes of their bodies."""

    requests: int = 0
    sent: int = 0
    received: int = 0

    def __add__(self, other: Count) -> Count:
        return Count(self.requests + other.requests, self.sent + other.sent, self.received + other.received)

    def __sub__(self, other: Count) -> Count:
        return Count(self.requests - other.requests, self.sent - other.sent, self.received - other.received)


@dataclass(frozen=True, slots=True)
class Traffic:
    """Counts by operation, as the server's manual calls it, e.g. `PutObject`; failed requests count, too."""

    operations: Mapping[str, Count] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def total(self) -> Count:
        """All operations together."""
        return sum(self.operations.values(), Count())

    def requests(self, *operations: str) -> int:
        """Return how often these operations were asked for."""
        return sum(self.operations.get(operation, Count()).requests for operation in operations)

    def since(self, earlier: Traffic) -> Traffic:
        """Return what came after an earlier reading."""
        left = {name: count - earlier.operations.get(name, Count()) for name, count in self.operations.items()}
        return Traffic(MappingProxyType({name: count for name, count in left.items() if count != Count()}))
