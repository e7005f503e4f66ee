"""Who is told of alarms, as the configuration says it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec

from edurise_backup.errors import ConfigError
from edurise_backup.model.alarms import AlarmKind, Severity

Name = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,62}\Z")]


class AlarmTargetSettings(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Who is told of alarms; where that is holds secrets, so it is named by a file or an environment variable."""

    name: Name
    url_file: str = ""
    url_env: str = ""
    severities: tuple[Severity, ...] = (Severity.WARNING, Severity.CRITICAL)
    kinds: tuple[AlarmKind, ...] = ()
    """Empty: all."""
    quiet_hours: Annotated[str, msgspec.Meta(pattern=r"^(([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d)?\Z")] = ""
    """`HH:MM-HH:MM`, in which only critical alarms are sent."""
    zone: str = "UTC"
    """IANA time zone of the quiet hours."""
    after_minutes: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Only what nobody has acknowledged for so long: an escalation."""
    settled: bool = True
    """Whether the end of an alarm is told, too."""
    allow_private: bool = False
    """Whether the target may be at an address that is not public."""


def target_mistakes(targets: Sequence[AlarmTargetSettings]) -> Iterator[tuple[str, str]]:
    """Yield what a configuration says wrongly: the key, and what is wrong with it."""
    names: set[str] = set()
    for number, target in enumerate(targets):
        key = f"alarm_target[{number}]"
        if target.name in names:
            yield f"{key}.name", f"two alarm targets are named {target.name!r}"
        names.add(target.name)
        if bool(target.url_file) == bool(target.url_env):
            yield key, "the URL is named by url_file or by url_env, by one of the two"
        try:
            zone_of(target.zone)
        except ConfigError as error:
            yield f"{key}.zone", f"{error.message}: {error.hint}"


def zone_of(name: str) -> ZoneInfo:
    """Return an IANA time zone; raises ConfigError for one that nobody knows."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ConfigError(
            f"there is no time zone {name!r}", hint="write one of the IANA names, such as Asia/Kolkata"
        ) from error
