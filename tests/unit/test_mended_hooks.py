"""Hooks: asked to stop, failing, leaving programs behind; and what that means for the work between them."""

from __future__ import annotations

import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from edurise_backup.errors import CancelledError, SourceError, ToolError
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.hooks import hooked, run_hook

PATIENCE = timedelta(seconds=60)


def shell(script: str) -> list[str]:
    return ["sh", "-c", script]


def ended(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_request_to_stop_ends_the_pre_hook_with_all_that_it_started(tmp_path: Path) -> None:
    progress = SilentProgress()
    child = tmp_path / "child"

    def keep_on() -> None:
        if child.exists() and child.read_text().strip():
            progress.cancel()
        progress.raise_if_cancelled()

    began = time.monotonic()
    with pytest.raises(CancelledError):
        run_hook(shell(f"sleep 600 & echo $! > {child}; wait"), "pre_hook", patience=PATIENCE, keep_on=keep_on)
    assert time.monotonic() - began < 30
    deadline = time.monotonic() + 10
    while not ended(int(child.read_text())):
        assert time.monotonic() < deadline
        threading.Event().wait(0.02)


def test_a_hook_that_takes_too_long_is_stopped() -> None:
    with pytest.raises(ToolError, match="did not end within"):
        run_hook(shell("sleep 600"), "pre_hook", patience=timedelta(seconds=0.2))


def test_what_a_hook_leaves_running_holds_nobody_up(tmp_path: Path) -> None:
    child = tmp_path / "child"
    run_hook(shell(f"sleep 600 & echo $! > {child}"), "pre_hook", patience=PATIENCE)
    os.kill(int(child.read_text()), 9)


def test_a_hook_that_says_much_is_told_by_its_last_line() -> None:
    with pytest.raises(ToolError, match=r"ended with status 4: the end$"):
        run_hook(shell("yes | head -c 300000 >&2; echo the end >&2; exit 4"), "pre_hook", patience=PATIENCE)


def test_a_hook_that_cannot_be_run_does_not_say_that_nothing_was_published() -> None:
    with pytest.raises(ToolError, match="did not run") as caught:
        run_hook(["/no/such/command"], "pre_hook", patience=PATIENCE)
    assert caught.value.safe == "what was published before it stays whole"


def test_a_post_hook_runs_to_its_end_though_the_work_was_cancelled(tmp_path: Path) -> None:
    progress = SilentProgress()
    with (
        pytest.raises(CancelledError),
        hooked([], shell(f"sleep 0.3; touch {tmp_path}/released"), source="x", progress=progress, warn=pytest.fail),
    ):
        progress.cancel()
        progress.raise_if_cancelled()
    assert (tmp_path / "released").exists()


def test_a_failing_post_hook_never_hides_the_error_of_the_work() -> None:
    with (
        pytest.raises(SourceError, match="the disk broke") as caught,
        hooked([], shell("exit 5"), source="x", progress=SilentProgress(), warn=pytest.fail),
    ):
        raise SourceError("the disk broke", hint="replace it")
    assert caught.value.hint.startswith("replace it; ")
    assert "post_hook of x ended with status 5" in caught.value.hint


def test_a_failing_post_hook_after_good_work_is_a_warning() -> None:
    warnings: list[str] = []
    with hooked([], shell("exit 5"), source="x", progress=SilentProgress(), warn=warnings.append):
        pass
    assert len(warnings) == 1
    assert "post_hook of x ended with status 5" in warnings[0]


def test_a_hook_sees_nothing_that_opens_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_API_AUTH_STRING", "edurise:canary")
    monkeypatch.setenv("EDURISE_CONFIG", "/etc/edurise-backup.toml")
    run_hook(shell(f"env > {tmp_path}/seen"), "pre_hook", patience=PATIENCE)
    run_hook(shell(f"env > {tmp_path}/given"), "pre_hook", patience=PATIENCE, environment={"ONLY": "this"})
    seen = dict(line.split("=", 1) for line in (tmp_path / "seen").read_text().splitlines() if "=" in line)
    assert "PREFECT_API_AUTH_STRING" not in seen
    assert {"PATH", "EDURISE_CONFIG"} <= set(seen)
    given = {line.split("=", 1)[0] for line in (tmp_path / "given").read_text().splitlines()}
    assert given <= {"ONLY", "PWD", "SHLVL", "_", "OLDPWD"}
