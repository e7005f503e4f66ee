"""`edurise-backup schedule …` as a person and as a script run it."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime, timedelta

import pytest

from edurise_backup import operations
from tests.support.catalog import Product, run, run_json
from tests.support.documents import page

NIGHTLY = ("nightly", "--type", "files", "--every", "every day at 02:00 Asia/Kolkata")


def said(product: Product, *words: str) -> str:
    done = run(product, "schedule", *words)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    return done.stdout


def test_a_schedule_from_its_beginning_to_its_end(files_product: Product) -> None:
    product = files_product
    assert "no schedule yet" in said(product, "list")
    added = said(
        product, "add", *NIGHTLY, "--keep", "daily=14", "--keep", "tag=exam", "--tag", "night", "--grace", "2h"
    )
    assert added.startswith("added: nightly (files), every day at 02:00 Asia/Kolkata")
    assert "next run" in added
    assert "02:00:00 IST" in added
    listed = said(product, "list")
    assert "Asia/Kolkata" in listed
    assert "active" in listed
    (row,) = run_json(product, "schedule", "list")  # type: ignore[misc]
    assert (row["name"], row["retention"], row["keep"]["daily"], row["keep"]["tags"]) == ("nightly", 30, 14, ["exam"])
    assert said(product, "preview", "nightly", "-n", "3").count("IST") == 3
    edited = said(product, "edit", "nightly", "--every", "6h", "--zone", "UTC", "--tag", "", "--jitter", "5m")
    assert edited.startswith("changed: nightly (files), 6h UTC")
    assert operations.list_schedules(settings=product.settings)[0].tags == ()
    paused = said(product, "pause", row["id"][:8], "--until", f"{datetime.now(UTC).year + 1}-01-01T06:00")
    assert "paused until" in paused
    assert said(product, "resume", "nightly").startswith("resumed: nightly")
    assert "no run was due yet" in said(product, "status", "nightly")
    assert run_json(product, "schedule", "status")[0]["runs"] == []  # type: ignore[index]
    assert "its backups stay" in said(product, "remove", "nightly")
    assert run_json(product, "schedule", "list") == []
    with operations.open_catalog(product.settings) as catalog:
        actions = [row.action for row in catalog.audit.newest()]
    assert actions == [f"schedule.{verb}" for verb in ("remove", "resume", "pause", "edit", "add")]


@pytest.mark.parametrize(
    ("words", "message", "to_do"),
    [
        (["add", "nightly"], "a schedule needs a type and a frequency", "--every"),
        (["add", "x", "-t", "full", "-e", "0 0 30 2 *"], "ever comes due", "day of month"),
        (["add", "x", "-t", "files", "-e", "6h", "--zone", "Asia/Kolkatta"], "no time zone", "Asia/Kolkata"),
        (["add", "x", "-t", "files", "-e", "6h", "--source", "downloads"], "no source named", "uploads"),
        (["add", "x", "-t", "check", "-e", "6h", "-o", "budget"], "not NAME=VALUE", "budget=5%"),
        (["add", "x", "-t", "files", "-e", "6h", "--keep", "sometimes=3"], "no rule for keeping", "daily"),
        (["edit", "nightly", "--every", "6h"], "no schedule 'nightly'", "schedule list"),
        (["pause", "nightly"], "no schedule 'nightly'", "schedule list"),
        (["preview"], "name a schedule, or a frequency", "one of the two"),
        (["preview", "--every", "whenever"], "not readable", "every day at 02:00"),
    ],
)
def test_bad_input_ends_with_status_2_and_what_to_do(
    files_product: Product, words: list[str], message: str, to_do: str
) -> None:
    done = run(files_product, "schedule", *words, "--json")
    assert (done.returncode, done.stdout) == (2, "")
    document = json.loads(done.stderr)
    assert message in document["error"]
    assert to_do in document["hint"]
    assert operations.list_schedules(settings=files_product.settings) == []


def test_the_commands_of_the_page_work_in_their_order(files_product: Product) -> None:
    commands = re.findall(r"^    edurise-backup schedule (.+)$", page("docs/operations/schedules.md"), re.MULTILINE)
    assert len(commands) > 10
    end = f"{datetime.now(UTC) + timedelta(days=9):%Y-%m-%d}"
    for command in commands:
        said(files_product, *shlex.split(command.replace("2026-12-24", end)))
    left = [schedule.name for schedule in operations.list_schedules(settings=files_product.settings)]
    assert left == ["anchor", "check", "copies", "hourly", "offsite-proof", "proof", "prune", "report", "retain"]
