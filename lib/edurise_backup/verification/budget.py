"""How much a check may read: so many bytes, so much time, or a share of all packs."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta

from edurise_backup.errors import InputError

_BYTES = {"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_WRITTEN = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?)(KiB|MiB|GiB|TiB|s|m|h|%)\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Budget:
    """Exactly one of these bounds: `size` in bytes, `time`, or `share` of the packs' bytes (0 to 1)."""

    size: int | None = None
    time: timedelta | None = None
    share: float | None = None

    @classmethod
    def parse(cls, text: str) -> Budget:
        """Return the budget that e.g. `10GiB`, `30m` or `5%` means; raises InputError."""
        found = _WRITTEN.match(text.strip())
        number = float(found[1]) if found else 0.0
        unit = found[2] if found else ""
        if number <= 0 or (unit == "%" and number > 100):
            raise InputError(
                f"{text!r} is no budget for reading",
                safe="nothing was read or changed",
                hint="write a size (KiB, MiB, GiB, TiB), a time (s, m, h) or a share up to 100 %: 10GiB, 30m, 5%",
            )
        if unit == "%":
            return cls(share=number / 100)
        if unit in _SECONDS:
            return cls(time=timedelta(seconds=number * _SECONDS[unit]))
        return cls(size=int(number * _BYTES[unit]))

    def bytes_of(self, total: int) -> int | None:
        """Return the bytes that may be read of `total`, or None when only the time is bounded."""
        if self.share is not None:
            return int(total * self.share)
        return self.size

    def choose(self, packs: list[str], sizes: dict[str, int]) -> list[str]:
        """Return the first of `packs` that fit into the budget's bytes, in their order; at least one.

        The first pack that does not fit ends the choice: passing it over would
        put off a large pack for ever.
        """
        room = self.bytes_of(sum(sizes[pack] for pack in packs))
        if room is None:
            return packs
        for number, pack in enumerate(packs):
            room -= sizes[pack]
            if room < 0:
                return packs[: max(number, 1)]
        return packs
