"""A command's events on standard error, with the job's id and without a secret."""

from __future__ import annotations

import json

from tests.support.catalog import PASSPHRASE, Product, run


def events(text: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in text.splitlines() if line.startswith('{"at"')]


def test_a_backup_logs_its_beginning_its_phases_and_its_end(files_product: Product) -> None:
    done = run(files_product, "backup", "files", "--json", "--log-json")
    job = json.loads(done.stdout)
    found = events(done.stderr)
    assert [event["event"] for event in found][:2] == ["job_started", "phase"]
    assert (found[-1]["event"], found[-1]["status"]) == ("job_ended", "completed")
    assert {event["job_id"] for event in found} == {job["id"]}
    assert PASSPHRASE not in done.stderr


def test_a_job_that_fails_logs_why(files_product: Product) -> None:
    assert run(files_product, "backup", "files").returncode == 0
    pack = next(path for path in (files_product.repository / "data").rglob("*") if path.is_file())
    pack.chmod(0o600)
    pack.write_bytes(b"broken")
    done = run(files_product, "verify", "latest", "--log-json")
    end = events(done.stderr)[-1]
    assert (end["event"], end["kind"]) == ("job_ended", "verification")


def test_the_environment_asks_for_it_too_and_without_it_nothing_is_logged(files_product: Product) -> None:
    assert events(run(files_product, "backup", "files", extra={"EDURISE_LOG_JSON": "1"}).stderr)
    assert run(files_product, "backup", "files").stderr == ""
