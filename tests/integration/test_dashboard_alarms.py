"""The page of alarms and the banner of the first page, run by AppTest against a real catalog."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest

from dashboard import alarming
from edurise_backup.catalog.alarms import Alarms
from edurise_backup.catalog.audit import AuditTrail
from edurise_backup.catalog.migrate import migrate
from edurise_backup.catalog.notices import Notices
from edurise_backup.catalog.sessions import Sessions
from edurise_backup.catalog.signs import write_sign
from edurise_backup.model.alarms import Alarm, AlarmKind, Severity
from edurise_backup.model.audit import Outcome
from edurise_backup.model.people import Actor, Role, Via
from edurise_backup.postgres.connection import Address
from flows.processes import LOOPBACK, free_port
from tests.support.pages import DASHBOARD, configure_pages, everything_on

pytestmark = pytest.mark.usefixtures("fresh_caches")
HOSTILE = "<script>alert(1)</script> **bold** [link](javascript:alert(1))"
CRITICAL = Alarm(
    AlarmKind.CATALOG_DISAGREES, "repository", Severity.CRITICAL, "3 good backups are gone", "find out who"
)
WARNING = Alarm(AlarmKind.JOB_FAILED, HOSTILE, Severity.WARNING, HOSTILE, HOSTILE)

TARGET = """\
[[alarm_target]]
name = "ops"
url_file = "no such file"
after_minutes = 15
quiet_hours = "22:00-06:00"
"""


@pytest.fixture
def configured(catalog_database: Address, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Point the product at an empty catalog; one alarm target, whose URL nobody may read here."""
    return configure_pages(catalog_database, tmp_path, monkeypatch, TARGET)


@pytest.fixture
def sessions(catalog_database: Address, configured: Path) -> Iterator[Sessions]:
    with Sessions.to(catalog_database) as sessions:
        migrate(sessions)
        yield sessions


def page(name: str = "views/alarms.py") -> AppTest:
    app = AppTest.from_file(str(DASHBOARD / name), default_timeout=60).run()
    assert not app.exception
    return app


def button(app: AppTest, label: str) -> object:
    return next(one for one in app.button if one.label == label)


def test_without_a_watch_no_alarm_is_no_good_news(sessions: Sessions) -> None:
    app = page()
    assert "nobody has looked yet" in app.info[0].value
    assert not app.success
    write_sign(sessions, "watch", datetime.now(UTC))
    st.cache_data.clear()
    app.run()
    assert app.success[0].value == "No alarm is open."


def test_open_alarms_have_their_remedy_and_their_texts_are_data(sessions: Sessions) -> None:
    alarms = Alarms(sessions)
    alarms.raise_alarm(WARNING)
    alarms.raise_alarm(CRITICAL)
    app = page()
    text = everything_on(app)
    assert text.index("3 good backups are gone") < text.index("script")
    assert "To do: find out who" in text
    assert HOSTILE not in text
    assert not any(element.allow_html for element in app.markdown)
    assert set(app.dataframe[0].value["Message"]) == {HOSTILE, CRITICAL.message}


def test_who_presses_the_button_looks_after_it_and_that_is_audited(sessions: Sessions) -> None:
    Alarms(sessions).raise_alarm(CRITICAL)
    app = page()
    button(app, "I look after it").click().run()  # type: ignore[attr-defined]
    assert not app.error
    (row,) = Alarms(sessions).open()
    assert (row.acknowledged_by or "").startswith("unnamed@")
    assert "looks after it" in everything_on(app)
    assert [entry.action for entry in AuditTrail(sessions).rows()] == ["alarm.acknowledge"]


def test_a_role_that_may_only_look_is_refused_and_nothing_changes(
    sessions: Sessions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alarming, "current_actor", lambda: Actor("vera", Via.DASHBOARD, frozenset({Role.VIEWER})))
    Alarms(sessions).raise_alarm(CRITICAL)
    app = page()
    button(app, "I look after it").click().run()  # type: ignore[attr-defined]
    assert "vera may not operate" in app.error[0].value
    assert Alarms(sessions).open()[0].acknowledged_at is None
    app = page()
    button(app, "Test").click().run()  # type: ignore[attr-defined]
    assert "vera may not administer" in app.error[0].value
    assert {entry.outcome for entry in AuditTrail(sessions).rows()} == {Outcome.REFUSED}
    assert Notices(sessions).waiting() == 0


def test_the_test_button_has_the_watch_send_a_message(sessions: Sessions, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alarming, "current_actor", lambda: Actor("ada", Via.DASHBOARD, frozenset({Role.ADMIN})))
    app = page()
    assert "what nobody looks after for 15 min" in everything_on(app)
    assert "nothing was sent yet" in everything_on(app)
    button(app, "Test").click().run()  # type: ignore[attr-defined]
    assert not app.error
    assert Notices(sessions).waiting() == 1
    assert "test message waits for the watch" in everything_on(app)


def test_settled_alarms_are_history(sessions: Sessions) -> None:
    alarms = Alarms(sessions)
    alarms.raise_alarm(CRITICAL)
    alarms.settle(CRITICAL.kind, CRITICAL.subject)
    app = page()
    assert not app.button or all(one.label != "I look after it" for one in app.button)
    assert app.dataframe[0].value["Settled"][0] != "open"


def test_the_first_page_begins_with_what_nobody_looks_after(sessions: Sessions) -> None:
    assert "Alarms" not in everything_on(page("app.py"))
    alarms = Alarms(sessions)
    for number in range(5):
        alarms.raise_alarm(Alarm(AlarmKind.JOB_FAILED, str(number), Severity.WARNING, HOSTILE))
    st.cache_data.clear()
    app = page("app.py")
    assert "5 open alarms that nobody looks after" in app.warning[0].value
    assert "and 2 more" in app.warning[0].value
    assert HOSTILE not in everything_on(app)
    alarms.raise_alarm(CRITICAL)
    st.cache_data.clear()
    assert "critical: 3 good backups are gone" in page("app.py").error[0].value


def test_the_first_page_says_when_nobody_watches_any_more(sessions: Sessions) -> None:
    write_sign(sessions, "watch", datetime.now(UTC) - timedelta(minutes=6))
    assert "Nobody watches since" in page("app.py").error[0].value


def test_a_catalog_that_does_not_answer_is_an_error_and_never_no_alarms(configured: Path) -> None:
    configured.write_text(f'[catalog]\nurl = "postgresql://somebody@{LOOPBACK}:{free_port()}/nothing"\n')
    app = page()
    assert "To do:" in app.error[0].value
    assert not app.success
