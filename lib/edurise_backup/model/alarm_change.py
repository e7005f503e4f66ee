"""A backup that is unlike those before it, as a hint of ransomware or of a mass deletion.

What ransomware has encrypted is new to the repository and does not compress;
what was deleted is missing in the count. Each figure is compared with the
median of the backups before, in units of their spread (MAD), and must differ
by a least amount, too. Fewer than `LEAST` backups give no verdict.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from statistics import median

from edurise_backup.model.alarm_facts import Change, Facts
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.robust import spread
from edurise_backup.model.words import subject_of

LEAST = 7
"""So many good backups of the series before there is a verdict."""
WINDOW = 14
"""Compared with the last so many."""
KEPT = timedelta(days=7)
"""An unusual backup is told of for so long, whatever the next ones look like: encryption happens once."""
FAR = 6.0
"""Spreads away from the median."""
_MIB = 1024**2


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a backup that is compared with those of earlier ones."""

    name: str
    of: Callable[[Change], float | None]
    """None where the backup has no such figure."""
    least: float
    """The least difference that counts; of a `relative` one as a share of the median."""
    relative: bool = False
    both_ways: bool = False
    """Whether less than usual counts, too."""

    def unusual(self, change: Change, before: Sequence[Change]) -> str | None:
        """Return what is unusual, in words; None when nothing is, or when there is too little to compare with."""
        value = self.of(change)
        usual = [figure for earlier in before if (figure := self.of(earlier)) is not None]
        if value is None or len(usual) < LEAST:
            return None
        middle = median(usual)
        least = self.least * middle if self.relative else self.least
        difference = value - middle
        far = abs(difference) > max(least, FAR * spread(usual))
        if not far or (difference < 0 and not self.both_ways):
            return None
        return f"{self.name} {self._shown(value)}, usually {self._shown(middle)}"

    def _shown(self, value: float) -> str:
        return f"{value:,.0f}" if self.relative else f"{100 * value:.0f} %"


def _new_share(change: Change) -> float | None:
    return change.stored_bytes / change.source_bytes if change.source_bytes >= _MIB else None


def _packing(change: Change) -> float | None:
    return change.stored_bytes / change.read_bytes if change.read_bytes >= _MIB and change.stored_bytes else None


MEASURES = (
    Measure("new data of all data", _new_share, least=0.10),
    Measure("stored bytes for those that were read", _packing, least=0.15),
    Measure("files", lambda change: float(change.files), least=0.25, relative=True, both_ways=True),
    Measure(
        "bytes of the source", lambda change: float(change.source_bytes), least=0.25, relative=True, both_ways=True
    ),
)


def unusual_change(facts: Facts) -> Iterator[Alarm]:
    """A backup of the last days is unlike those before it."""
    for (part, source), changes in facts.changes.items():
        for at in range(len(changes) - 1, LEAST - 1, -1):
            change = changes[at]
            if facts.now - change.moment > KEPT:
                break
            before = changes[max(0, at - WINDOW) : at]
            told = [text for measure in MEASURES if (text := measure.unusual(change, before))]
            if told:
                yield _alarm(subject_of(part, source), change, told)
                break


def _alarm(subject: str, change: Change, told: list[str]) -> Alarm:
    return Alarm(
        AlarmKind.UNUSUAL_CHANGE,
        subject,
        Severity.CRITICAL if len(told) > 1 else Severity.WARNING,
        f"the backup {str(change.backup_id)[:8]} of {subject} is unlike those before it: {'; '.join(told)}",
        "look at what changed (`edurise-backup repo diff`); if nobody can explain it, isolate the machine, "
        "pause retention and prunes, and keep every earlier backup",
    )
