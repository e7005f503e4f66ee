"""The net behind the net: whatever surrounds a secret, and however it is written, it is not in what is said."""

from __future__ import annotations

import json
import logging
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edurise_backup.cli.output import Output
from edurise_backup.errors import BackupError
from edurise_backup.monitoring.redaction import HIDDEN, REDACTOR, SHORTEST, Redactor, protect_logs
from edurise_backup.operations.jobs import storable

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)
SECRET = st.text(st.characters(exclude_categories=["Cs"]), min_size=SHORTEST, max_size=40)


@given(st.lists(SECRET, min_size=1, max_size=4), st.lists(TEXT, min_size=2, max_size=6), st.randoms())
def test_no_secret_survives_in_any_form_and_any_company(secrets: list[str], texts: list[str], random) -> None:  # type: ignore[no-untyped-def]  # hypothesis's own
    redactor = Redactor()
    for secret in secrets:
        redactor.learn(secret)
    pieces = []
    for text in texts:
        secret = random.choice(secrets)
        pieces += [text, random.choice([secret, json.dumps(secret), quote(secret, safe=""), repr(secret)])]
    said = redactor.clean("".join(pieces))
    for secret in secrets:
        for form in (secret, json.dumps(secret)[1:-1], quote(secret, safe=""), repr(secret)[1:-1]):
            assert form not in said


@given(SECRET, TEXT)
def test_what_holds_no_secret_stays_as_it_is(secret: str, text: str) -> None:
    redactor = Redactor()
    redactor.learn(secret)
    if secret not in text:
        assert redactor.without_known(text) == text or any(
            form in text for form in (json.dumps(secret)[1:-1], quote(secret), repr(secret)[1:-1])
        )


@given(
    st.text("abcdefghij0123456789", min_size=1),
    st.text(st.characters(exclude_categories=["Cs", "Z", "C"], exclude_characters="/?#"), min_size=1, max_size=30),
)
def test_a_password_in_a_url_is_cut_though_nobody_has_read_it(user: str, password: str) -> None:
    said = Redactor().clean(f"cannot connect to postgresql://{user}:{password}@host:5432/db now")
    assert said == f"cannot connect to postgresql://{user}:{HIDDEN}@host:5432/db now"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("host=h password=canary user=u", "host=h password=*** user=u"),
        ("host=h password='can \\' ary' user=u", "host=h password=*** user=u"),
        ("https://h/x@y:z and mail a@b.c", "https://h/x@y:z and mail a@b.c"),
        ("amqp://:canary@h", "amqp://:***@h"),
        ("the password file x cannot be read", "the password file x cannot be read"),
    ],
)
def test_settings_are_cut_and_ordinary_text_is_not(text: str, shown: str) -> None:
    assert Redactor().clean(text) == shown


def test_a_short_secret_does_not_tear_words_apart() -> None:
    redactor = Redactor()
    redactor.learn("a")
    assert redactor.clean("a database") == "a database"
    assert redactor.known == {"a"}


def test_rows_output_and_logs_go_through_the_net(
    capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    secret = 'canary "of" \\ this test'
    REDACTOR.learn(secret)
    assert secret not in storable(f"it said {secret}")
    for as_json in (True, False):
        output = Output(json=as_json)
        output.error(BackupError(f"it said {secret}", safe=f"{secret}", hint=f"not {secret}"))
        output.result({"value": secret}, f"value {secret}")
    said = capsys.readouterr()
    assert "canary" not in said.out + said.err
    before = logging.getLogRecordFactory()
    protect_logs()
    protect_logs()
    try:
        logging.getLogger("edurise_backup.test").warning("said %s", secret)
        try:
            raise BackupError(f"it said {secret}")
        except BackupError:
            logging.getLogger("edurise_backup.test").exception("failed")
        logging.getLogger("edurise_backup.test").warning("%d of %d", 1, 2)
    finally:
        logging.setLogRecordFactory(before)
    assert "canary" not in caplog.text
    assert "said ***" in caplog.text
    assert "Traceback" in caplog.text
    assert "1 of 2" in caplog.text
