"""A backup after packs were lost: files that did not change are read again where their blobs have gone."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.ports import utc_now
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.saving import Label
from edurise_backup.repository.trial import try_snapshot
from edurise_backup.sources.files import FilesSource
from tests.support import engine
from tests.support.stores import MemoryStore
from tests.support.trees import small_tree


def test_unchanged_files_whose_packs_are_gone_are_read_and_stored_again(tmp_path: Path) -> None:
    root = small_tree(tmp_path / "tree")
    store = MemoryStore()
    engine.back_up(engine.create(store), root, now=lambda: utc_now() + timedelta(minutes=1))  # nothing is too new
    for name, _ in list(store.list(Kind.PACK)):
        store.delete(name)
    trial_of = engine.opened(store)
    trial_of.load_index()
    trial = try_snapshot(
        trial_of, FilesSource([str(root)]), Label([str(root)], host="tests"), progress=SilentProgress()
    )
    saved = engine.back_up(engine.opened(store), root)
    assert trial.added.data_blobs == saved.added.data_blobs > 0
    assert trial.archived.stats == saved.archived.stats
    assert any("stored again" in problem for problem in saved.archived.problems)
    assert saved.archived.stats.read_bytes > 0
    assert engine.restored_differences(engine.opened(store), saved.snapshot, root, tmp_path / "restored") == []
