"""A schedule as a person asks for it: every field is looked at before a row is written."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from uuid import UUID

import msgspec

from edurise_backup.config import Settings
from edurise_backup.errors import InputError
from edurise_backup.model.frequencies import check_zone, parse_frequency
from edurise_backup.model.schedules import KeepRules, Schedule, Work
from edurise_backup.model.timing import check_rule
from edurise_backup.operations.planning import rule_of
from edurise_backup.operations.pruning import parse_duration
from edurise_backup.operations.works import check_work

_SAFE = "nothing was changed"
_LONGEST_NAME = 63
_MOST_DAYS = 36_500
_LONGEST_JITTER = timedelta(days=1)
_LONGEST_GRACE = timedelta(days=365)


@dataclass(frozen=True, slots=True)
class ScheduleConfig:
    """What is to be run, and how often; lengths of time as text, such as `10m` or `1h30m`."""

    name: str
    type: str
    """A kind of `model.schedules.Work`: full, database, files, …, verify, check, prune."""
    frequency: str
    """Cron, an interval, or plain words: `0 2 * * *`, `6h`, `every day at 02:00`; a zone may end it."""
    retention: int = 30
    """Days for which every backup of it is kept."""
    source: str = ""
    zone: str = ""
    """IANA time zone; empty: the one in the frequency, else UTC."""
    incremental: bool = True
    tags: tuple[str, ...] = ()
    options: Mapping[str, str | int | bool] = field(default_factory=dict)
    keep: KeepRules = field(default_factory=KeepRules)
    jitter: str = "0"
    grace: str = "1h"
    blackout: tuple[str, ...] = ()
    catch_up: bool = True


FIELDS = tuple(one.name for one in fields(ScheduleConfig))


def config_of(config: ScheduleConfig | Mapping[str, object]) -> ScheduleConfig:
    """Return a config from a mapping of its fields; raises InputError that names the wrong one."""
    if isinstance(config, ScheduleConfig):
        return config
    unknown = sorted(str(name) for name in config if name not in FIELDS)
    if unknown:
        raise InputError(
            f"a schedule has no field {unknown[0]!r}", safe=_SAFE, hint=f"its fields are {', '.join(FIELDS)}"
        )
    try:
        return msgspec.convert(msgspec.to_builtins(dict(config)), ScheduleConfig)
    except (msgspec.ValidationError, TypeError) as error:
        raise InputError(f"the schedule is not readable: {error}", safe=_SAFE, hint="see docs/api/backup.md") from error


def config_from(schedule: Schedule) -> ScheduleConfig:
    """Return what a person would ask for to get a schedule; an edit starts from it."""
    same = {name: getattr(schedule, name) for name in FIELDS if name not in ("jitter", "grace")}
    return ScheduleConfig(**same, jitter=length_text(schedule.jitter), grace=length_text(schedule.grace))


def length_text(length: timedelta) -> str:
    """Return a length of time as `parse_duration` reads it: 1h30m."""
    rest, said = int(length.total_seconds()), ""
    for unit, seconds in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        said += f"{rest // seconds}{unit}" if rest >= seconds else ""
        rest %= seconds
    return said or "0"


def schedule_from(config: ScheduleConfig, schedule_id: UUID, settings: Settings, now: datetime) -> Schedule:
    """Return the row that a config means; raises InputError, NotFoundError, ConfigError that say what to write."""
    timing = parse_frequency(config.frequency)
    if config.zone and timing.zone and timing.zone != config.zone:
        raise InputError(
            f"the frequency names the time zone {timing.zone}, the schedule {config.zone}",
            safe=_SAFE,
            hint="name one of the two",
        )
    schedule = Schedule(
        id=schedule_id,
        name=_checked_name(config.name),
        type=_work(config.type),
        frequency=" ".join(config.frequency.split()),
        retention=_bounded(config.retention, 1, _MOST_DAYS, "days of retention"),
        source=config.source,
        zone=timing.zone or check_zone(config.zone or "UTC"),
        incremental=config.incremental,
        tags=_checked_tags(config.tags),
        options=dict(config.options),
        keep=_checked_keep(config.keep),
        jitter=_length(config.jitter, timedelta(0), _LONGEST_JITTER, "jitter"),
        grace=_length(config.grace, timedelta(seconds=1), _LONGEST_GRACE, "grace"),
        blackout=tuple(" ".join(span.lower().split()) for span in config.blackout),
        catch_up=config.catch_up,
    )
    check_rule(rule_of(schedule), now)
    check_work(schedule, settings)
    return schedule


def changed_config(schedule: Schedule, changes: Mapping[str, object]) -> ScheduleConfig:
    """Return the config of a schedule with some fields changed; a new zone or frequency takes the old zone's place."""
    config = config_from(schedule)
    if _zone_in(schedule.frequency) and "frequency" not in changes and "zone" in changes:
        words = schedule.frequency.rpartition(" ")[0]
        config = replace(config, frequency=words)
    if "frequency" in changes and "zone" not in changes and _zone_in(str(changes["frequency"])):
        config = replace(config, zone="")
    values = {name: getattr(config, name) for name in FIELDS} | dict(changes)
    return config_of(values)


def _zone_in(frequency: str) -> str:
    try:
        return parse_frequency(frequency).zone
    except InputError:  # told where the config is looked at as a whole
        return ""


def _work(word: str) -> Work:
    try:
        return Work(word)
    except ValueError:
        raise InputError(
            f"there is no kind of schedule {word!r}", safe=_SAFE, hint=f"choose {', '.join(Work)}"
        ) from None


def _checked_name(text: str) -> str:
    name = " ".join(text.split())
    if not name or len(name) > _LONGEST_NAME or not name.isprintable() or name.startswith("-"):
        raise InputError(
            f"{text!r} is no name for a schedule",
            safe=_SAFE,
            hint=f"use 1 to {_LONGEST_NAME} printable characters that do not begin with a hyphen",
        )
    return name


def _checked_tags(tags: tuple[str, ...]) -> tuple[str, ...]:
    for tag in tags:
        if not tag.strip() or "," in tag or not tag.isprintable():
            raise InputError(f"{tag!r} is no tag", safe=_SAFE, hint="a tag is printable and holds no comma")
    return tags


def _checked_keep(keep: KeepRules) -> KeepRules:
    for name in ("last", "hourly", "daily", "weekly", "monthly", "yearly"):
        if getattr(keep, name) < -1:
            raise InputError(f"keep {name} {getattr(keep, name)} means nothing", safe=_SAFE, hint="0 is off, -1 is all")
    return keep


def _bounded(number: int, least: int, most: int, what: str) -> int:
    if not least <= number <= most:
        raise InputError(f"{number} {what} cannot be", safe=_SAFE, hint=f"choose from {least} to {most}")
    return number


def _length(text: str, least: timedelta, most: timedelta, what: str) -> timedelta:
    length = parse_duration(text)
    if not least <= length <= most:
        raise InputError(
            f"a {what} of {text} cannot be",
            safe=_SAFE,
            hint=f"choose from {length_text(least)} to {length_text(most)}",
        )
    return length
