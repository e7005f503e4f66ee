"""Messages to real local servers, and every target that must be refused."""

from __future__ import annotations

import email
import json
import logging
from base64 import b64encode
from collections.abc import Sequence
from datetime import timedelta
from email import policy
from urllib.parse import parse_qs

import pytest

from edurise_backup.errors import (
    BackupError,
    ConfigError,
    ForbiddenError,
    TransientError,
    UnreachableError,
)
from edurise_backup.model.alarms import Severity
from edurise_backup.model.database import Secret
from edurise_backup.monitoring.notifications import Message, Target, check_target, send
from edurise_backup.monitoring.webhooks import allowed_address, is_public, resolve
from tests.support.receivers import http_receiver, mail_receiver

MESSAGE = Message("[critical] no good backup: files/uploads", "Nothing since Monday.\nTo do: look.", Severity.CRITICAL)
CANARY = "canary-5e2f"


def target(url: str, *, allow_private: bool = False) -> Target:
    return Target("ops", Secret(url), allow_private)


def names(*addresses: str, asked: list[str] | None = None) -> object:
    """Return a resolver that knows one answer, and notes who asked."""

    def resolver(host: str, port: int) -> Sequence[str]:
        if asked is not None:
            asked.append(host)
        return addresses

    return resolver


# Webhooks


@pytest.mark.parametrize("scheme", ["http", "json"])
def test_a_webhook_gets_the_message_as_json(scheme: str) -> None:
    message = Message(MESSAGE.title, "naïve ☂", MESSAGE.severity, (("kind", "no_good_backup"),))
    with http_receiver() as receiver:
        send(target(f"{scheme}://127.0.0.1:{receiver.port}/hook?to=a%20b", allow_private=True), message)
    (request,) = receiver.requests
    assert request.path == "/hook?to=a+b"
    assert json.loads(request.body) == {
        "title": MESSAGE.title,
        "message": "naïve ☂",
        "severity": "critical",
        "kind": "no_good_backup",
    }


def test_a_webhook_gets_credentials_and_headers_that_its_url_names() -> None:
    with http_receiver() as receiver:
        url = f"form://me:{CANARY}%40@127.0.0.1:{receiver.port}/?+X-Token=t-1&a=1"
        send(target(url, allow_private=True), MESSAGE)
    (request,) = receiver.requests
    assert request.headers["X-Token"] == "t-1"
    assert request.headers["Authorization"] == "Basic " + b64encode(f"me:{CANARY}@".encode()).decode()
    assert request.path == "/?a=1"
    assert parse_qs(request.body.decode())["title"] == [MESSAGE.title]


def test_text_from_outside_is_data_in_xml() -> None:
    with http_receiver() as receiver:
        hostile = Message("<a>&\x00", "]]></alarm>", Severity.WARNING)
        send(target(f"xml://127.0.0.1:{receiver.port}/", allow_private=True), hostile)
    body = receiver.requests[0].body.decode()
    assert "<title>&lt;a&gt;&amp;\N{REPLACEMENT CHARACTER}</title>" in body
    assert body.count("</alarm>") == 1


@pytest.mark.parametrize(
    ("host", "answers"),
    [
        ("169.254.169.254", ()),
        ("[::ffff:127.0.0.1]", ()),
        ("[::ffff:169.254.169.254]", ()),
        ("[::1]", ()),
        ("[fe80::1]", ()),
        ("[fd00::1]", ()),
        ("[64:ff9b::7f00:1]", ()),
        ("[2002:7f00:1::]", ()),
        ("[64:ff9b:1::5db8:d822]", ()),
        ("[::127.0.0.1]", ()),
        ("127.0.0.1", ()),
        ("10.1.2.3", ()),
        ("172.16.0.1", ()),
        ("192.168.1.1", ()),
        ("100.64.0.1", ()),
        ("0.0.0.0", ()),  # noqa: S104  a target, nothing binds to it
        ("224.0.0.1", ()),
        ("2130706433", ("93.184.216.34",)),
        ("0x7f000001", ("93.184.216.34",)),
        ("0177.0.0.1", ("93.184.216.34",)),
        ("127.1", ("93.184.216.34",)),
        ("metadata.example", ("169.254.169.254",)),
        ("both.example", ("93.184.216.34", "10.0.0.1")),
        ("scoped.example", ("fe80::1%eth0",)),
    ],
)
def test_a_webhook_to_a_place_that_is_not_public_is_refused(host: str, answers: tuple[str, ...]) -> None:
    with pytest.raises(ForbiddenError) as refused:
        send(target(f"https://{host}/{CANARY}"), MESSAGE, resolver=names(*answers))  # type: ignore[arg-type]
    assert "allow_private" in refused.value.hint
    assert CANARY not in str(refused.value.lines())


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "2606:2800:220:1::1", "::ffff:93.184.216.34", "64:ff9b::5db8:d822"]
)
def test_public_addresses_are_public(address: str) -> None:
    assert is_public(address)


def test_the_system_s_own_resolver_does_not_turn_a_number_into_a_way_out() -> None:
    with pytest.raises(ForbiddenError):
        allowed_address("2130706433", 443, allow_private=False, resolver=resolve)


def test_the_name_is_resolved_once_and_the_connection_goes_to_the_address_that_was_judged() -> None:
    answers = iter((["127.0.0.1"], ["192.0.2.1"]))  # a name server that changes its mind
    asked: list[str] = []

    def rebinding(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return next(answers)

    with http_receiver() as receiver:
        send(target(f"http://hook.example:{receiver.port}/", allow_private=True), MESSAGE, resolver=rebinding)
    assert asked == ["hook.example"]
    assert receiver.requests[0].headers["Host"] == f"hook.example:{receiver.port}"


def test_a_name_server_that_first_gives_a_public_address_is_not_asked_a_second_time() -> None:
    asked: list[str] = []
    resolver = names("93.184.216.34", asked=asked)
    found = allowed_address("hook.example", 443, allow_private=False, resolver=resolver)  # type: ignore[arg-type]
    assert (found, asked) == ("93.184.216.34", ["hook.example"])


def test_a_redirect_is_told_and_not_followed() -> None:
    with http_receiver() as elsewhere, http_receiver() as receiver:
        receiver.status, receiver.location = 302, elsewhere.url
        with pytest.raises(ForbiddenError, match="redirect"):
            send(target(receiver.url, allow_private=True), MESSAGE)
    assert (len(receiver.requests), elsewhere.requests) == (1, [])


@pytest.mark.parametrize(("status", "kind"), [(500, TransientError), (429, TransientError), (404, BackupError)])
def test_an_answer_is_told_by_its_status_and_never_by_its_words(status: int, kind: type[BackupError]) -> None:
    with http_receiver() as receiver:
        receiver.status, receiver.answer = status, CANARY.encode()
        with pytest.raises(kind, match=f"HTTP {status}") as error:
            send(target(f"{receiver.url}/{CANARY}", allow_private=True), MESSAGE)
    assert CANARY not in str(error.value.lines())
    assert error.value.hint


def test_without_https_a_public_webhook_is_refused() -> None:
    with pytest.raises(ForbiddenError, match="https"):
        send(target("http://hook.example/x"), MESSAGE, resolver=names("93.184.216.34"))  # type: ignore[arg-type]


def test_who_does_not_answer_is_unreachable_and_the_url_is_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    with http_receiver() as receiver:
        closed = receiver.port
    with caplog.at_level(logging.DEBUG), pytest.raises(UnreachableError) as error:
        send(target(f"http://127.0.0.1:{closed}/{CANARY}", allow_private=True), MESSAGE)
    assert CANARY not in str(error.value.lines())
    assert error.value.__cause__ is None
    assert "url_file" in error.value.hint


def test_a_target_that_never_answers_does_not_hold_up_who_sends() -> None:
    with http_receiver() as receiver:
        receiver.hang = True
        with pytest.raises(TransientError, match="within"):
            send(target(receiver.url, allow_private=True), MESSAGE, longest=timedelta(seconds=0.2))


# Mail and services


def test_a_mail_arrives_with_its_subject_and_text() -> None:
    with mail_receiver() as receiver:
        send(target(f"mailto://127.0.0.1:{receiver.port}?from=backup@school.org&to=ops@school.org"), MESSAGE)
    (mail,) = receiver.mails
    parsed = email.message_from_string(mail, policy=policy.default)
    assert parsed["Subject"] == MESSAGE.title
    assert parsed["To"] == "ops@school.org"
    body = parsed.get_body(("plain", "html"))
    assert body is not None
    assert "Nothing since Monday." in body.get_content()


def test_a_mail_that_is_refused_is_an_error_that_says_what_to_do() -> None:
    with mail_receiver() as receiver:
        receiver.refuse = True
        with pytest.raises(TransientError, match="did not take") as error:
            send(target(f"mailto://127.0.0.1:{receiver.port}?from=a@b.org&to=c@d.org"), MESSAGE)
    assert "alarm test ops" in error.value.hint


def test_a_mail_server_that_is_away_shows_no_credentials_in_any_log(caplog: pytest.LogCaptureFixture) -> None:
    with mail_receiver() as receiver:
        closed = receiver.port
    url = f"mailto://user:{CANARY}@127.0.0.1:{closed}?from=a@b.org&to=c@d.org"
    with caplog.at_level(logging.DEBUG), pytest.raises(TransientError) as error:
        send(target(url), MESSAGE)
    assert CANARY not in caplog.text + str(error.value.lines())


@pytest.mark.parametrize(
    "url",
    [
        "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ/",
        "workflows://prod-16.westeurope.logic.azure.com:443/abcdef0123456789/0123456789abcdef/",
        "tgram://123456789:abcdefg_hijklmnop/12315544/",
        "https://hook.example/x",
        "mailtos://user:pass@mail.school.org?to=ops@school.org",
    ],
)
def test_known_forms_of_urls_are_accepted(url: str) -> None:
    check_target(target(url))


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        (f"gotify://10.0.0.1/{CANARY}", ForbiddenError),
        (f"workflows://evil.example/abcdef0123456789/{CANARY}/", ForbiddenError),
        (f"mmost://chat.internal/{CANARY}", ForbiddenError),
        (f"syslog://{CANARY}", ForbiddenError),
        (f"slack://{CANARY}", ConfigError),
        ("", ForbiddenError),
        (f"https:///{CANARY}", ConfigError),
        (f"https://host:port/{CANARY}", ConfigError),
    ],
)
def test_what_is_no_known_form_is_refused_without_showing_it(url: str, kind: type[BackupError]) -> None:
    with pytest.raises(kind) as error:
        check_target(target(url))
    assert CANARY not in str(error.value.lines())
    assert error.value.hint


def test_a_service_at_an_address_of_one_s_own_needs_the_setting() -> None:
    check_target(target("gotify://10.0.0.1/abcdefghijklmno", allow_private=True))
