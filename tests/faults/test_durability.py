"""S-34: what `put` returned for survives a power loss: the order of the system calls says so."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from edurise_backup.errors import BackupError
from edurise_backup.stores.local import LocalStore


class Recorder:
    """Notes the calls that make an object durable, in their order, with what they act on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.calls: list[tuple[str, str]] = []
        self._monkeypatch = monkeypatch
        self._wrap("writev", _of_descriptor)
        self._wrap("fsync", _of_descriptor)
        self._wrap("link", lambda source, target, **_: Path(target).name)
        self._wrap("mkdir", lambda path, *_: Path(path).name)
        self._wrap("unlink", lambda path, **_: Path(path).name)

    def _wrap(self, name: str, describe: Callable[..., str]) -> None:
        real = getattr(os, name)

        def recorded(*arguments: object, **options: object) -> object:
            self.calls.append((name, describe(*arguments, **options)))
            return real(*arguments, **options)

        self._monkeypatch.setattr(os, name, recorded)


def _of_descriptor(descriptor: int, *_: object) -> str:
    return Path(os.readlink(f"/proc/self/fd/{descriptor}")).name


def shortened(calls: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the calls with temporary names made equal."""
    return [(call, name.partition("-tmp-")[0] + "~" if "-tmp-" in name else name) for call, name in calls]


def test_s34_an_object_is_synced_before_it_gets_its_name_and_its_folder_after(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = LocalStore(tmp_path)
    store.put("data/before", [b"the folder is there"])
    recorder = Recorder(monkeypatch)
    store.put("data/object", [b"bytes"])
    assert shortened(recorder.calls) == [
        ("writev", "object~"),
        ("fsync", "object~"),
        ("link", "object"),
        ("unlink", "object~"),
        ("fsync", "data"),
    ]


def test_s34_a_new_folder_is_synced_in_the_one_above(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(monkeypatch)
    LocalStore(tmp_path / "new").put("data/ab/object", [b"bytes"])
    made = [call for call in recorder.calls if call[0] in ("mkdir", "fsync") and "-tmp-" not in call[1]]
    assert made == [
        ("mkdir", "new"),
        ("fsync", tmp_path.name),
        ("mkdir", "data"),
        ("fsync", "new"),
        ("mkdir", "ab"),
        ("fsync", "data"),
        ("fsync", "ab"),
    ]


def test_s34_a_removal_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = LocalStore(tmp_path)
    store.put("data/object", [b"bytes"])
    recorder = Recorder(monkeypatch)
    store.delete("data/object")
    assert recorder.calls == [("unlink", "object"), ("fsync", "data")]


def test_a_failed_sync_kills_the_object_and_is_never_tried_again_on_the_same_descriptor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failed fsync the kernel may call the lost pages clean: a second one would lie."""
    store = LocalStore(tmp_path)
    store.put("data/before", [b"x"])
    synced: list[str] = []

    def failing(descriptor: int) -> None:
        synced.append(_of_descriptor(descriptor))
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(BackupError):
        store.put("data/object", [b"bytes"])
    assert len(synced) == 1
    assert "-tmp-" in synced[0]
    assert os.listdir(tmp_path / "data") == ["before"]


def test_a_crash_between_any_two_calls_leaves_the_whole_object_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class PowerLoss(BaseException):
        """The machine stops; nothing is cleaned up after it."""

    for name in ("writev", "fsync", "link"):
        folder = tmp_path / name
        store = LocalStore(folder)
        store.put("data/before", [b"x"])
        with monkeypatch.context() as patch:

            def stop(*_: object, **__: object) -> None:
                raise PowerLoss

            patch.setattr(os, name, stop)
            patch.setattr(Path, "unlink", lambda *_, **__: None)
            with pytest.raises(PowerLoss):
                store.put("data/object", [b"bytes"])
        assert [found for found, _ in LocalStore(folder).list("data")] == ["data/before"]
        LocalStore(folder).put("data/object", [b"bytes"])
        assert store.get("data/object") == b"bytes"
