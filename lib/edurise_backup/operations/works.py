"""What a schedule can run, and which options each of them has: the one table of it.

A kind of work that is not in the table is refused when somebody asks for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from edurise_backup.config import Settings
from edurise_backup.errors import InputError, NotFoundError
from edurise_backup.model.schedules import Schedule, Work
from edurise_backup.operations.collection import choose_sources
from edurise_backup.operations.pruning import parse_duration, prune_wish
from edurise_backup.verification.budget import Budget

Options = Mapping[str, str | int | bool]


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of work: its options by name, and what looks at their values."""

    options: Mapping[str, type] = field(default_factory=dict)
    check: Callable[[Options], object] = lambda options: None


def _check_check(options: Options) -> None:
    if options.get("budget") and options.get("read_data"):
        raise InputError("everything is to be read, and a budget is given", hint="use one of the two")
    if options.get("budget"):
        Budget.parse(str(options["budget"]))


def _check_prune(options: Options) -> None:
    given = {"grace": "1d", "max_unused": "5%", "max_repack_size": "", "max_removed": "50%", "wait": "1h"} | {
        name: str(value) for name, value in options.items() if name in _SHARES
    }
    prune_wish(given["grace"], given["max_unused"], given["max_repack_size"], given["max_removed"], given["wait"])


def _check_retain(options: Options) -> None:
    for name in ("grace", "wait"):
        parse_duration(str(options.get(name, "1h")))


_SHARES = ("grace", "max_unused", "max_repack_size", "max_removed", "wait")
_PRUNE: dict[str, type] = {**dict.fromkeys(_SHARES, str), "dry_run": bool, "store": str}

WORKS: Mapping[Work, Kind] = {
    **{work: Kind() for work in Work if work.backup},
    Work.VERIFY: Kind({"store": str}),
    Work.CHECK: Kind({"budget": str, "read_data": bool, "store": str}, _check_check),
    Work.PRUNE: Kind(_PRUNE, _check_prune),
    Work.RETAIN: Kind({"grace": str, "wait": str, "dry_run": bool}, _check_retain),
    Work.REPORT: Kind({"period": str, "source": str, "zone": str}),
    Work.ANCHOR: Kind(),
    Work.COPY: Kind({"store": str}),
}


def check_work(schedule: Schedule, settings: Settings) -> None:
    """Raise InputError unless this release can run it as asked, and NotFoundError for a source that is not there."""
    kind = WORKS.get(schedule.type)
    if kind is None:
        raise InputError(
            f"{schedule.type.value} cannot be run by a schedule in this release",
            safe="nothing was changed",
            hint=f"choose {', '.join(work.value for work in WORKS)}",
        )
    for name, value in schedule.options.items():
        wanted = kind.options.get(name)
        if wanted is None:
            known = ", ".join(kind.options) or "none"
            raise InputError(
                f"{schedule.type.value} has no option {name!r}", safe="nothing was changed", hint=f"it has: {known}"
            )
        if type(value) is not wanted:
            raise InputError(
                f"the option {name!r} of {schedule.type.value} is {value!r}",
                safe="nothing was changed",
                hint="write true or false" if wanted is bool else "write a text",
            )
    kind.check(schedule.options)
    _check_source(schedule, settings)


def _check_source(schedule: Schedule, settings: Settings) -> None:
    part = schedule.type.backup
    if part is not None:
        choose_sources(settings, part, schedule.source or None)
    elif schedule.source:
        raise NotFoundError(
            f"{schedule.type.value} works on the repository, not on the source {schedule.source!r}",
            safe="nothing was changed",
            hint="leave the source out",
        )
