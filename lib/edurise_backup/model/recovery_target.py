"""The moment that a recovery goes to: what a person asks for, and what PostgreSQL is told of it.

Source: the PostgreSQL manual, "Recovery Target". Exactly one target may be set,
and an empty setting that comes after it would undo it: so the empty ones stand first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Literal, TypeAlias

from edurise_backup.errors import InputError
from edurise_backup.model.wal import Lsn, format_lsn, parse_lsn

TimelineChoice: TypeAlias = int | Literal["latest", "current"]
"""A timeline's number, the newest one that the base backup leads to, or the base backup's own."""
Action: TypeAlias = Literal["promote", "pause"]

_TARGETS = (
    "recovery_target",
    "recovery_target_time",
    "recovery_target_xid",
    "recovery_target_lsn",
    "recovery_target_name",
)
_FIRST_XID = 3
"""Smaller numbers are no transactions (`access/transam.h`)."""
_LONGEST_NAME = 63
"""Bytes of a restore point's name (MAXFNAMELEN)."""
_ZONE = re.compile(r"(?:[Zz]|[+-]\d\d(?::?\d\d)?)\Z")
_LOOKS_LIKE_TIME = re.compile(r"\d{4}-\d\d-\d\d")
_LOOKS_LIKE_LSN = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}\Z")
_FORMS = "latest, immediate, time:2026-01-31T14:03:07.418Z, xid:81234, lsn:16/B374D848, name:RESTORE_POINT"


@dataclass(frozen=True, slots=True)
class TargetMoment:
    """Exactly one of the first six says where the replay stops; `inclusive` says on which side of it.

    `time` is a commit's; `immediate` is the end of the base backup, `latest` the end of what the archive has.
    """

    time: datetime | None = None
    xid: int | None = None
    lsn: Lsn | None = None
    name: str | None = None
    immediate: bool = False
    latest: bool = False
    inclusive: bool = True
    timeline: TimelineChoice = "latest"
    action: Action = "promote"

    def __post_init__(self) -> None:
        """Raise InputError for what is no target."""
        given = [one for one in (self.time, self.xid, self.lsn, self.name) if one is not None]
        if len(given) + self.immediate + self.latest != 1:
            raise InputError("a recovery has exactly one target", hint=f"name one of: {_FORMS}")
        if self.time is not None and self.time.tzinfo is None:
            raise _without_zone(self.time.isoformat())
        if self.xid is not None and not _FIRST_XID <= self.xid < 1 << 64:
            raise InputError(f"{self.xid} is no transaction's number")
        if self.name is not None and not 0 < len(self.name.encode()) <= _LONGEST_NAME:
            raise InputError(f"a restore point's name has 1 to {_LONGEST_NAME} bytes, not {len(self.name.encode())}")
        if isinstance(self.timeline, int) and not 0 < self.timeline < 1 << 32:
            raise InputError(f"{self.timeline} is no timeline's number")
        if self.latest and self.action == "pause":
            raise InputError(
                "a recovery to the end of the log cannot pause there",
                hint="let it promote, or name the last moment as a time or LSN",
            )

    def __str__(self) -> str:
        """Return the target for a person."""
        side = "" if self.inclusive else "just before "
        if self.time is not None:
            return f"{side}{self.time.astimezone(UTC).isoformat(timespec='microseconds')}"
        if self.xid is not None:
            return f"{side}transaction {self.xid}"
        if self.lsn is not None:
            return f"{side}position {format_lsn(self.lsn)}"
        if self.name is not None:
            return f"the restore point {self.name!r}"
        return "the end of the base backup" if self.immediate else "the end of the log"

    def on_timeline(self, timeline: TimelineChoice) -> TargetMoment:
        """Return the same target on another timeline."""
        return replace(self, timeline=timeline)

    def settings(self) -> dict[str, str]:
        """Return every recovery_target setting of PostgreSQL, in the order in which they must be given."""
        chosen = self._target()
        return {
            **{name: "" for name in _TARGETS if name not in chosen},
            "recovery_target_inclusive": "on" if self.inclusive else "off",
            "recovery_target_timeline": str(self.timeline),
            "recovery_target_action": self.action,
            **chosen,
        }

    def _target(self) -> dict[str, str]:
        """Return the one setting that is not empty."""
        if self.time is not None:
            moment = self.time.astimezone(UTC)
            return {"recovery_target_time": f"{moment:%Y-%m-%d %H:%M:%S.%f}+00"}
        if self.xid is not None:
            return {"recovery_target_xid": str(self.xid)}
        if self.lsn is not None:
            return {"recovery_target_lsn": format_lsn(self.lsn)}
        if self.name is not None:
            return {"recovery_target_name": self.name}
        return {"recovery_target": "immediate"} if self.immediate else {}


def parse_target(
    text: str, *, inclusive: bool = True, timeline: str = "latest", action: Action = "promote"
) -> TargetMoment:
    """Return the target that a person wrote, as `KIND:VALUE`, or a bare time or LSN; raises InputError."""
    bare = TargetMoment(latest=True, inclusive=inclusive, timeline=parse_timeline(timeline))
    word = text.strip()
    kind, sign, value = word.partition(":")
    if not sign or kind not in ("time", "xid", "lsn", "name"):
        kind, value = _kind_of(word), word
    match kind:
        case "latest":
            return replace(bare, action=action)
        case "immediate":
            return replace(bare, latest=False, immediate=True, action=action)
        case "time":
            return replace(bare, latest=False, time=parse_time(value), action=action)
        case "xid":
            return replace(bare, latest=False, xid=_parse_xid(value), action=action)
        case "lsn":
            return replace(bare, latest=False, lsn=_parse_position(value), action=action)
        case "name":
            return replace(bare, latest=False, name=value, action=action)
    raise InputError(f"{text!r} is no target of a recovery", hint=f"write one of: {_FORMS}")


def parse_timeline(text: str) -> TimelineChoice:
    """Return the timeline that a person wrote; raises InputError."""
    if text == "latest":
        return "latest"
    if text == "current":
        return "current"
    if not text.isdecimal() or not text.isascii():
        raise InputError(f"{text!r} is no timeline", hint="write its number, latest, or current (the base backup's)")
    return int(text)


def parse_time(text: str) -> datetime:
    """Return a time that says its zone; raises InputError for one that leaves it to be guessed."""
    word = text.strip()
    try:
        moment = datetime.fromisoformat(_spelled(word))
    except ValueError as error:
        raise InputError(f"{text!r} is no time", hint="write it as 2026-01-31T14:03:07.418+01:00") from error
    if moment.tzinfo is None:
        raise _without_zone(word)
    return moment


def _spelled(word: str) -> str:
    zone = _ZONE.search(word, 11) if len(word) > 11 else None
    if zone is None:
        return word
    # PostgreSQL writes fractions without their last zeros, and a zone by its hours
    front = re.sub(r"(\.\d{1,6})\d*\Z", lambda found: found[1].ljust(7, "0"), word[: zone.start()].rstrip())
    return front + ("+00:00" if zone[0] in "Zz" else zone[0])


def _kind_of(word: str) -> str:
    if _LOOKS_LIKE_LSN.match(word):
        return "lsn"
    return "time" if _LOOKS_LIKE_TIME.match(word) else word


def _parse_xid(value: str) -> int:
    if not value.isdecimal() or not value.isascii():
        raise InputError(f"{value!r} is no transaction's number", hint="write it in decimal: xid:81234")
    return int(value)


def _parse_position(value: str) -> Lsn:
    try:
        return parse_lsn(value)
    except ValueError as error:
        raise InputError(str(error)) from error


def _without_zone(text: str) -> InputError:
    return InputError(
        f"the time {text} does not say its zone",
        safe="nothing was read or changed",
        hint="add Z for UTC, or the offset from it: 2026-01-31T14:03:07+01:00",
    )
