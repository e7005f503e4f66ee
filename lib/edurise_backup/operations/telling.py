"""Tell people of alarms: what is due goes into the outbox, from there to the targets, and the result is noted."""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, time, timedelta
from pathlib import Path
from uuid import UUID

from edurise_backup.catalog.alarms import Alarms
from edurise_backup.catalog.notices import Notices
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, ConfigError, NotFoundError
from edurise_backup.model.alarm_targets import AlarmTargetSettings, zone_of
from edurise_backup.model.alarms import Alarm, AlarmKind, AlarmRow, Severity
from edurise_backup.model.database import Secret
from edurise_backup.model.notices import Event, Notice, Quiet, Route, wanted
from edurise_backup.model.people import Actor, Permission
from edurise_backup.monitoring.notifications import Message, Send, Target, check_target, send
from edurise_backup.operations.alarms import allowed
from edurise_backup.operations.catalogs import Catalog

_ROUNDS = 2
"""A target that does not answer is an alarm itself, of which the others are told at once."""


@dataclass(frozen=True, slots=True)
class Delivered:
    """What a round of messages came to."""

    sent: int = 0
    failed: tuple[str, ...] = ()
    """Targets that did not take a message, each with why."""


@dataclass(frozen=True, slots=True)
class TargetState:
    """A configured target as a page or a list shows it; its URL is not in it."""

    settings: AlarmTargetSettings
    problem: str
    """Why nothing can be sent to it; empty when its URL is readable and of a known form."""
    last: Notice | None
    """The newest message to it."""


def deliver(
    settings: Settings,
    catalog: Catalog,
    now: datetime,
    *,
    send_message: Send = send,
    environment: Mapping[str, str] = os.environ,
) -> Delivered:
    """Send what is due to the configured targets; raises only what the catalog raises.

    A target that does not take a message gets it again later, and is an alarm for the others.
    """
    notices, alarms = Notices(catalog.sessions), Alarms(catalog.sessions, clock=lambda: now)
    routes = [route_of(target) for target in settings.alarm_targets]
    names = [route.target for route in routes]
    notices.give_up(names, now)
    for row in alarms.open():
        if row.kind is AlarmKind.TARGET_UNREACHABLE and row.subject not in names:
            alarms.settle(row.kind, row.subject)
    sent, failed = 0, dict[str, str]()
    for _ in range(_ROUNDS):
        found, ledger = notices.to_tell(now)
        notices.queue(wanted(found, routes, ledger, now), now)
        claimed = notices.claim([name for name in names if name not in failed], now)
        known = notices.alarms([notice.alarm_id for notice in claimed if notice.alarm_id])
        for notice in claimed:
            # who did not answer once is not asked again in this round: that may have taken half a minute
            problem = failed.get(notice.target) or _tell(settings, notice, known, send_message, environment)
            _note(notices, alarms, notice, problem, now)
            if problem:
                failed[notice.target] = problem
            else:
                sent += 1
    return Delivered(sent, tuple(f"{name}: {why}" for name, why in failed.items()))


def _note(notices: Notices, alarms: Alarms, notice: Notice, problem: str, now: datetime) -> None:
    """Write down how a message went; a target that does not take one is an alarm until it takes one."""
    if problem:
        notices.note_failure(notice, problem, now)
        alarms.raise_alarm(_unreachable(notice.target, problem))
    else:
        notices.note_sent(notice, now)
        alarms.settle(AlarmKind.TARGET_UNREACHABLE, notice.target)


def try_target(
    settings: Settings,
    catalog: Catalog,
    actor: Actor,
    name: str,
    *,
    send_message: Send = send,
    environment: Mapping[str, str] = os.environ,
) -> None:
    """Send a test message now; raises BackupError with what to do when it is not taken, and NotFoundError."""
    allowed(catalog, actor, Permission.ADMINISTER, "alarm_target.test", name)
    target = find_target(settings, name)
    catalog.audit.add(actor, "alarm_target.test", name)
    send_message(opened_target(target, environment), message_of(Event.TEST, None, Severity.INFO, settings.host))
    Notices(catalog.sessions).add_sent_test(name, catalog.clock())
    catalog.alarms.settle(AlarmKind.TARGET_UNREACHABLE, name)


def queue_test(settings: Settings, catalog: Catalog, actor: Actor, name: str, now: datetime) -> UUID:
    """Have the watch loop send a test message, for who holds no secrets (the dashboard); return the row's id."""
    allowed(catalog, actor, Permission.ADMINISTER, "alarm_target.test", name)
    find_target(settings, name)
    catalog.audit.add(actor, "alarm_target.test", name)
    return Notices(catalog.sessions).queue_test(name, now)


def targets(
    settings: Settings, catalog: Catalog, *, environment: Mapping[str, str] | None = os.environ
) -> tuple[TargetState, ...]:
    """Return the configured targets with the last message to each; without an environment no URL is looked at."""
    last = {notice.target: notice for notice in Notices(catalog.sessions).newest()}
    return tuple(
        TargetState(target, _problem(target, environment) if environment is not None else "", last.get(target.name))
        for target in settings.alarm_targets
    )


def find_target(settings: Settings, name: str) -> AlarmTargetSettings:
    """Return the configured target of this name; raises NotFoundError."""
    for target in settings.alarm_targets:
        if target.name == name:
            return target
    names = ", ".join(target.name for target in settings.alarm_targets)
    raise NotFoundError(
        f"there is no alarm target named {name!r}",
        safe="nothing was sent",
        hint=f"choose of {names}" if names else "name one in [[alarm_target]] of the configuration",
    )


def opened_target(target: AlarmTargetSettings, environment: Mapping[str, str]) -> Target:
    """Return the target with its URL; raises ConfigError when that cannot be read."""
    if target.url_env:
        url = environment.get(target.url_env, "").strip()
        where, hint = f"the environment variable {target.url_env}", "set it for the watch service"
    else:
        where, hint = f"the file {target.url_file}", "write the target's URL into it, chmod 600"
        try:
            url = Path(target.url_file).read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise ConfigError(
                f"{where} of the alarm target {target.name} cannot be read: {why}", safe="nothing was sent", hint=hint
            ) from None
    if not url:
        raise ConfigError(f"{where} of the alarm target {target.name} is empty", safe="nothing was sent", hint=hint)
    return Target(target.name, Secret(url), target.allow_private)


def route_of(target: AlarmTargetSettings) -> Route:
    """Return what goes to the target."""
    quiet = None
    if target.quiet_hours:
        begin, _, end = target.quiet_hours.partition("-")
        quiet = Quiet(time.fromisoformat(begin), time.fromisoformat(end), zone_of(target.zone))
    return Route(
        target.name,
        frozenset(target.severities),
        frozenset(target.kinds),
        quiet,
        timedelta(minutes=target.after_minutes),
        target.settled,
    )


def message_of(event: Event, alarm: AlarmRow | None, severity: Severity, host: str) -> Message:
    """Return what a person reads; text from outside stays on its line."""
    if alarm is None:
        text = f"This is a test message of EduRise Backup on {host}. Whoever reads it will be told of alarms."
        return Message("EduRise Backup: test", text, severity, (("event", event.value), ("host", host)))
    name = f"{alarm.kind.value.replace('_', ' ')}: {_flat(alarm.subject)}"
    if event is Event.SETTLED:
        title = f"EduRise Backup [settled] {name}"
        lines = [f"Over since {alarm.settled_at:%Y-%m-%d %H:%M:%S} UTC. It was: {_flat(alarm.message)}"]
    else:
        title = f"EduRise Backup [{severity.value}] {name}"
        lines = [
            _flat(alarm.message),
            f"To do: {_flat(alarm.remedy)}" if alarm.remedy else "",
            f"I look after it: edurise-backup alarm acknowledge {str(alarm.id)[:8]}",
        ]
    lines.append(f"Since {alarm.raised_at:%Y-%m-%d %H:%M:%S} UTC, told by {host}.")
    fields = {
        "event": event.value,
        "kind": alarm.kind.value,
        "subject": alarm.subject,
        "alarm": str(alarm.id),
        "remedy": alarm.remedy,
        "raised_at": f"{alarm.raised_at:%Y-%m-%dT%H:%M:%SZ}",
        "host": host,
    }
    return Message(title, "\n".join(filter(None, lines)), severity, tuple(fields.items()))


def tell_directly(
    settings: Settings, alarm: Alarm, *, send_message: Send = send, environment: Mapping[str, str] = os.environ
) -> Delivered:
    """Tell every target of something that the catalog cannot hold, because it is the catalog that does not answer."""
    sent, failed = 0, []
    text = "\n".join((alarm.message, f"To do: {alarm.remedy}", f"Told by {settings.host or socket.gethostname()}."))
    message = Message(f"EduRise Backup [{alarm.severity.value}] {alarm.subject}", text, alarm.severity)
    for target in settings.alarm_targets:
        if alarm.severity not in target.severities or (target.kinds and alarm.kind not in target.kinds):
            continue
        try:
            send_message(opened_target(target, environment), message)
            sent += 1
        except BackupError as error:
            failed.append(f"{target.name}: {error.message}")
    return Delivered(sent, tuple(failed))


def _tell(
    settings: Settings,
    notice: Notice,
    known: Mapping[UUID, AlarmRow],
    send_message: Send,
    environment: Mapping[str, str],
) -> str:
    """Send one message; return why it was not taken, or nothing."""
    alarm = known.get(notice.alarm_id) if notice.alarm_id else None
    try:
        target = opened_target(find_target(settings, notice.target), environment)
        send_message(target, message_of(notice.event, alarm, notice.severity, settings.host))
    except BackupError as error:
        return f"{error.message}; to do: {error.hint}" if error.hint else error.message
    return ""


def _unreachable(name: str, problem: str) -> Alarm:
    return Alarm(
        AlarmKind.TARGET_UNREACHABLE,
        name,
        Severity.WARNING,
        f"the alarm target {name} does not take messages: {problem}",
        f"mend it, then `edurise-backup alarm test {name}`; what it was not told is sent again",
    )


def _problem(target: AlarmTargetSettings, environment: Mapping[str, str]) -> str:
    try:
        check_target(opened_target(target, environment))
    except BackupError as error:
        return f"{error.message}; to do: {error.hint}"
    return ""


def _flat(text: str) -> str:
    return " ".join(text.split())
