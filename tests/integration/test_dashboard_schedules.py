"""The page of schedules, run by Streamlit's AppTest against a real catalog."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.testing.v1.element_tree import Button

from dashboard.scheduling import Scheduling, options_text, parse_options
from edurise_backup import operations
from edurise_backup.config import load_settings
from edurise_backup.errors import ConflictError, ForbiddenError, InputError
from edurise_backup.model.audit import AuditFilters
from edurise_backup.model.jobs import JobId
from edurise_backup.model.people import Actor, Role, Via
from edurise_backup.model.schedules import Schedule
from edurise_backup.operations.schedule_config import ScheduleConfig, config_from
from edurise_backup.operations.schedule_runs import attach_job, begin_run, end_run
from edurise_backup.ports import Surroundings
from edurise_backup.postgres.connection import Address
from flows.processes import LOOPBACK, free_port
from tests.support.catalog import Product
from tests.support.pages import DASHBOARD, everything_on
from tests.support.people import sign_in_to
from tests.support.postgres import drop_database

HOSTILE = "<script>alert(1)</script> **bold**"
VIEWER = Actor("vera", Via.DASHBOARD, frozenset({Role.VIEWER}))


@pytest.fixture
def product(files_product: Product, monkeypatch: pytest.MonkeyPatch) -> Iterator[Product]:
    """Point the page at a product whose Prefect server is not there."""
    monkeypatch.setenv("EDURISE_CONFIG", str(files_product.settings_path))
    monkeypatch.setenv("PREFECT_API_URL", f"http://{LOOPBACK}:{free_port()}/api")
    monkeypatch.syspath_prepend(str(DASHBOARD.parent))
    yield files_product
    st.cache_data.clear()
    st.cache_resource.clear()


def add(product: Product, name: str = "nightly", **fields: object) -> Schedule:
    config = {"name": name, "type": "files", "frequency": "every day at 02:00 Asia/Kolkata", **fields}
    return operations.schedule_backup(config, settings=product.settings)


def schedules(product: Product) -> list[Schedule]:
    return operations.list_schedules(settings=product.settings)


def as_admin(app: AppTest) -> AppTest:
    with operations.open_catalog(load_settings()) as catalog:
        return sign_in_to(app, catalog, "ada", Role.ADMIN)


def page() -> AppTest:
    app = as_admin(AppTest.from_file(str(DASHBOARD / "views" / "schedules.py"), default_timeout=60)).run()
    assert not app.exception
    return app


def dialog(name: str, schedule: str = "queries.schedules()[0].schedule") -> AppTest:
    """Keep a dialog open: AppTest runs a page anew at each touch, where a browser keeps the dialog alone alive."""
    script = f"from dashboard import queries\nfrom dashboard.scheduling import {name}\n{name}({schedule})\n"
    app = as_admin(AppTest.from_string(script, default_timeout=60)).run()
    assert not app.exception
    return app


def button(app: AppTest, label: str) -> Button:
    return next(found for found in app.button if found.label == label)


def test_the_frame_names_the_page() -> None:
    assert '"views/schedules.py"' in (DASHBOARD / "app.py").read_text()


def test_without_a_schedule_the_page_says_what_to_do(product: Product) -> None:
    assert "Nothing runs by itself yet" in page().info[0].value


def test_a_schedule_is_shown_with_its_next_ten_due_times_and_why_some_do_not_run(product: Product) -> None:
    add(product, blackout=["sun 00:00-24:00"], keep={"daily": 14, "yearly": -1})
    app = page()
    (row,) = app.dataframe[0].value.to_dict("records")
    assert (row["Name"], row["Runs"], row["State"]) == ("nightly", "files", "▶ active")
    assert "02:00:00 IST" in row["Next run"]
    ahead = app.dataframe[1].value.to_dict("records")
    assert len(ahead) == 10
    assert {line["Does not run"] for line in ahead} == {"", "blackout sun 00:00-24:00"}
    assert "Keeps 30 days, and daily 14, yearly all" in everything_on(app)
    assert "No run was due yet" in everything_on(app)


def test_what_was_missed_or_failed_is_told_first(product: Product) -> None:
    clock = datetime.now(UTC) - timedelta(hours=2)
    config = {"name": HOSTILE, "type": "files", "frequency": "every hour", "grace": "1m"}
    schedule = operations.schedule_backup(
        config, settings=replace(product.settings, around=Surroundings(lambda: clock))
    )
    with operations.open_catalog(product.settings) as catalog:
        operations.judge_runs(catalog, datetime.now(UTC))
        app = page()
        assert "was missed" in app.error[0].value
        assert HOSTILE not in everything_on(app)
        assert not any(element.allow_html for element in app.markdown)
        assert app.dataframe[0].value["Newest"][0] == "✗ missed"
        late = begin_run(catalog, schedule.id, flow_run_id=uuid4(), expected=None, now=datetime.now(UTC))
        assert late.admitted
        attach_job(catalog, late, JobId(uuid4()))
        end_run(catalog, late, good=True, now=datetime.now(UTC))
    st.cache_data.clear()
    assert not page().error


def test_the_dialog_adds_a_schedule_and_shows_what_it_would_mean(product: Product) -> None:
    app = page()
    button(app, "New schedule …").click().run()
    assert button(app, "Save").disabled
    app = dialog("edit_dialog", "None")
    app.text_input(key="name new").set_value("weekly check").run()
    app.selectbox(key="type new").set_value("check").run()
    app.text_input(key="frequency new").set_value("every sunday at 04:00").run()
    app.text_input(key="zone new").set_value("Europe/Berlin").run()
    app.text_area(key="options new").set_value("budget=20%").run()
    shown = app.dataframe[-1].value.to_dict("records")
    assert len(shown) == 10
    assert all("Sun" in line["When"] and "04:00:00" in line["When"] for line in shown)
    button(app, "Save").click().run()
    assert not app.exception
    assert not app.error
    (made,) = schedules(product)
    assert (made.name, made.type, made.zone, made.options) == (
        "weekly check",
        "check",
        "Europe/Berlin",
        {"budget": "20%"},
    )
    with operations.open_catalog(product.settings) as catalog:
        (row,) = catalog.audit.newest(filters=AuditFilters(action="schedule"))
    assert (row.action, row.via) == ("schedule.add", "dashboard")


@pytest.mark.parametrize(
    ("field", "value", "said"),
    [
        ("frequency new", "0 0 30 2 *", "no cron expression that ever comes due"),
        ("frequency new", "every day", "say at which time"),
        ("zone new", "Asia/Kolkatta", "Asia/Kolkata"),
        ("grace new", "soon", "is no time"),
        ("jitter new", "2d", "jitter"),
    ],
)
def test_what_cannot_be_meant_is_told_in_the_dialog_and_cannot_be_saved(
    product: Product, field: str, value: str, said: str
) -> None:
    app = dialog("edit_dialog", "None")
    app.text_input(key=field).set_value(value).run()
    assert said in app.error[0].value.replace("\\", "")
    assert not any(found.label == "Save" for found in app.button)
    assert schedules(product) == []


def test_the_dialog_edits_a_schedule(product: Product) -> None:
    schedule = add(product)
    app = page()
    button(app, "Edit …").click().run()
    assert app.text_input(key=f"name {schedule.id}").value == "nightly"
    app = dialog("edit_dialog")
    app.number_input(key=f"retention {schedule.id}").set_value(90).run()
    app.number_input(key=f"keep weekly {schedule.id}").set_value(8).run()
    button(app, "Save").click().run()
    assert not app.error
    (edited,) = schedules(product)
    assert (edited.retention, edited.keep.weekly, edited.version) == (90, 8, 2)


def test_a_schedule_is_paused_resumed_and_removed(product: Product) -> None:
    schedule = add(product)
    app = page()
    button(app, "Pause …").click().run()
    assert not button(app, "Pause").disabled
    app = dialog("pause_dialog")
    app.selectbox(key=f"pause length {schedule.id}").set_value("1 day").run()
    button(app, "Pause").click().run()
    (paused,) = schedules(product)
    assert not paused.is_active
    assert paused.paused_until is not None
    assert timedelta(hours=23) < paused.paused_until - datetime.now(UTC) <= timedelta(hours=24)
    app = page()
    assert "paused until" in app.dataframe[0].value["State"][0]
    button(app, "Resume").click().run()
    assert schedules(product)[0].is_active
    app = page()
    button(app, "Remove …").click().run()
    assert button(app, "Remove").disabled
    app = dialog("remove_dialog")
    app.text_input(key=f"remove confirmation {schedule.id}").set_value("nightly").run()
    button(app, "Remove").click().run()
    assert schedules(product) == []


def test_the_acts_check_the_role_and_an_edit_in_between(product: Product) -> None:
    schedule = add(product)
    scheduling = Scheduling(product.settings, VIEWER)
    with pytest.raises(ForbiddenError):
        scheduling.add(ScheduleConfig("mine", "files", "6h"))
    with pytest.raises(ForbiddenError):
        scheduling.pause(schedule, 1)
    with pytest.raises(ForbiddenError):
        scheduling.remove(schedule)
    admin = Scheduling(product.settings, replace(VIEWER, roles=frozenset({Role.ADMIN})))
    wanted = replace(config_from(schedule), retention=7)
    admin.edit(schedule, wanted)
    with pytest.raises(ConflictError, match="meanwhile"):
        admin.edit(schedule, replace(wanted, retention=9))
    assert schedules(product)[0].retention == 7


def test_a_catalog_that_goes_away_is_shown_as_stale(product: Product, catalog_database: Address) -> None:
    add(product)
    app = page()
    drop_database(replace(catalog_database, database="postgres"), catalog_database.database)
    st.cache_data.clear()
    app.run()
    assert any("Not up to date: shown as of" in warning.value for warning in app.warning)
    assert app.dataframe[0].value["Name"][0] == "nightly"


def test_options_are_typed_a_line_each() -> None:
    assert parse_options("budget = 5%\n\nread_data=false") == {"budget": "5%", "read_data": False}
    assert parse_options(options_text({"dry_run": True, "wait": "1h"})) == {"dry_run": True, "wait": "1h"}
    with pytest.raises(InputError, match="NAME=VALUE"):
        parse_options("quickly")
