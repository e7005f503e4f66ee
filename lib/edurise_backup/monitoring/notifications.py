"""Send messages to people: by webhooks of our own, by mail and the services that Apprise knows.

A send has an end: whatever a target does, the caller goes on after `LONGEST`.
Where a target is holds secrets, so no error, log or traceback shows it.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from edurise_backup.errors import BackupError, ConfigError, ForbiddenError, TransientError
from edurise_backup.model.alarms import Severity
from edurise_backup.model.database import Secret
from edurise_backup.monitoring.webhooks import SCHEMES, Resolve, parse_webhook, resolve, send_webhook

if TYPE_CHECKING:
    from apprise import NotifyBase

LONGEST = timedelta(seconds=30)
"""A target that has not taken the message by then is left alone."""
MAIL = frozenset({"mailto", "mailtos"})
FIXED = frozenset(
    {
        *("discord", "gchat", "mailgun", "msgbird", "nexmo", "opsgenie", "pagerduty", "pagertree", "pbul", "pover"),
        *("prowl", "sendgrid", "signl4", "slack", "sns", "spike", "splunk", "tgram", "twilio", "victorops", "vonage"),
        *("webex", "wxteams"),
    }
)
"""Apprise's services whose address is their own, whatever the URL says."""
TEAMS = frozenset({"workflow", "workflows"})
_TEAMS_HOSTS = (".logic.azure.com", ".api.powerplatform.com")

Send = Callable[["Target", "Message"], None]


@dataclass(frozen=True, slots=True)
class Target:
    """Where messages go."""

    name: str
    url: Secret
    allow_private: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """What is told."""

    title: str
    text: str
    severity: Severity
    fields: tuple[tuple[str, str], ...] = ()
    """Beside title and text, what a program wants to know: names and values of a webhook's body."""


def check_target(target: Target) -> None:
    """Raise ConfigError or ForbiddenError for a URL that cannot be sent to; nothing is sent or resolved."""
    scheme = _scheme(target)
    if scheme in SCHEMES:
        parse_webhook(target.url)
        return
    if scheme in TEAMS and not target.allow_private:
        host = urlsplit(target.url.reveal().strip()).hostname or ""
        if not host.endswith(_TEAMS_HOSTS):
            raise _own_address(target)
    elif scheme not in MAIL | FIXED and not target.allow_private:
        raise _own_address(target)
    _service(target)


def send(target: Target, message: Message, *, resolver: Resolve = resolve, longest: timedelta = LONGEST) -> None:
    """Send the message and return when it was taken; raises BackupError, whose hint says what to do."""

    def work() -> None:
        check_target(target)
        if _scheme(target) in SCHEMES:
            content = {"title": message.title, "message": message.text, "severity": message.severity.value}
            send_webhook(
                parse_webhook(target.url),
                content | dict(message.fields),
                allow_private=target.allow_private,
                resolver=resolver,
            )
        else:
            _send_by_service(target, message)

    _within(work, target, longest)


def _send_by_service(target: Target, message: Message) -> None:
    import apprise  # takes a third of a second, which most commands need not pay

    kinds = {
        Severity.INFO: apprise.NotifyType.INFO,
        Severity.WARNING: apprise.NotifyType.WARNING,
        Severity.CRITICAL: apprise.NotifyType.FAILURE,
    }
    service = _service(target)
    taken = service.notify(
        title=message.title,
        body=message.text,
        notify_type=kinds[message.severity],
        body_format=apprise.NotifyFormat.TEXT,
    )
    if not taken:
        raise TransientError(
            f"the alarm target {target.name} did not take the message",
            safe="it is sent again",
            hint="check the URL in its url_file, the network, and whether the service or the mail server is up; "
            f"then `edurise-backup alarm test {target.name}`",
        )


def _service(target: Target) -> NotifyBase:
    import apprise

    logging.getLogger("apprise").setLevel(logging.CRITICAL + 1)  # its log lines hold addresses
    asset = apprise.AppriseAsset(app_id="edurise-backup", app_desc="EduRise Backup", http_redirects=False)
    service = apprise.Apprise.instantiate(target.url.reveal().strip(), asset=asset, suppress_exceptions=True)
    if not service:
        raise ConfigError(
            f"the URL of the alarm target {target.name} is not one that Apprise knows",
            safe="nothing was sent",
            hint="write one of the forms in docs/operations/alarms.md into its url_file",
        )
    return service


def _within(work: Callable[[], None], target: Target, longest: timedelta) -> None:
    """Do the work in a thread, and leave it behind when it takes too long."""
    failed: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  it is raised again in the caller's thread
            failed.append(error)

    thread = threading.Thread(target=run, name=f"send to {target.name}", daemon=True)
    thread.start()
    thread.join(longest.total_seconds())
    if thread.is_alive():
        raise TransientError(
            f"the alarm target {target.name} did not take the message within {longest.total_seconds():.0f} s",
            safe="it is sent again",
            hint="check the network, and whether the service is up",
        )
    if failed and isinstance(failed[0], BackupError):
        raise failed[0]
    if failed:
        raise BackupError(
            f"the alarm target {target.name} could not be told: {type(failed[0]).__name__}",
            safe="the message is sent again",
            hint="check the URL in its url_file",
        ) from None


def _scheme(target: Target) -> str:
    return target.url.reveal().strip().partition("://")[0].lower()


def _own_address(target: Target) -> ForbiddenError:
    return ForbiddenError(
        f"the alarm target {target.name} is a service at an address that its URL chooses",
        safe="nothing was sent",
        hint="set allow_private = true for it if that place is meant, or use a plain https webhook",
    )
