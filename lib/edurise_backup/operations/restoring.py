"""Say what restoring files of a snapshot takes, into a new directory or onto what is there, and do the latter."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

from edurise_backup.errors import ConflictError, InputError, NotFoundError
from edurise_backup.model.location import directory_of
from edurise_backup.operations.engine import selection
from edurise_backup.operations.snapshots import Chosen, tree_of
from edurise_backup.ports import Progress
from edurise_backup.recovery.delta.plan import DeltaPlan
from edurise_backup.recovery.delta.restorer import Updated, apply_delta, plan_delta
from edurise_backup.recovery.planning import Names, RestorePlan, plan_restore
from edurise_backup.repository.repository import Repository

__all__ = ["Updated", "apply_delta", "plan_files", "plan_onto", "refuse_occupied"]


def plan_files(
    repository: Repository,
    chosen: Chosen,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    when_large: Callable[[], None] = lambda: None,
) -> RestorePlan:
    """Say what restoring the chosen files takes; the index must be loaded. Raises NotFoundError when none matches.

    `when_large` as for `plan_restore`.
    """
    chosen_files = selection(include, exclude)
    tree = tree_of(repository, chosen)
    plan = plan_restore(repository, tree, select=chosen_files, paths=chosen.paths, when_large=when_large)
    if include and not (plan.files or plan.others or plan.folders):
        raise NotFoundError(f"nothing in {chosen.id[:8]} matches {', '.join(include)}", hint="`ls` lists it")
    return plan


def plan_onto(
    repository: Repository,
    chosen: Chosen,
    target: Path,
    *,
    include: Sequence[str] = (),
    exclude: Sequence[str] = (),
    delete: bool = False,
    progress: Progress,
) -> DeltaPlan:
    """Say what makes `target` what the snapshot says; reads all that is there, and changes nothing.

    `apply_delta` does it. Raises ConflictError, InputError when it would touch the repository, DamageError.
    """
    _refuse_inside(target, repository.store.address)
    plan = plan_files(repository, chosen, include=include, exclude=exclude)
    delta = plan_delta(repository, plan, target, select=selection(include, exclude), delete=delete, progress=progress)
    _refuse_over(delta, repository.store.address)
    return delta


def refuse_occupied(target: Path) -> None:
    """Raise ConflictError for a target that a restore into a new directory would refuse, InputError for a file."""
    try:
        empty = not any(target.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise InputError(f"{target}: {error.strerror}", hint="choose a directory") from error
    if not empty:
        raise ConflictError(
            f"{target} is not empty", safe="nothing was written", hint="see what `--overwrite` would do to it"
        )


def _refuse_inside(target: Path, place: str) -> None:
    directory = directory_of(place)
    if directory is None:
        return
    repository, top = os.path.realpath(directory), os.path.realpath(target)
    if os.path.commonpath([repository, top]) == repository:
        raise InputError(
            f"{target} lies in the repository {place}", safe="nothing was changed", hint="choose another target"
        )


def _refuse_over(plan: DeltaPlan, place: str) -> None:
    """Raise InputError when the plan would remove the repository, or write into it."""
    directory = directory_of(place)
    if directory is None:
        return
    repository, top = os.path.realpath(directory), os.path.realpath(plan.target)
    if os.path.commonpath([repository, top]) != top:
        return
    names: Names = PurePath(repository).relative_to(top).parts
    gone = {*plan.displaced, *(plan.unwanted if plan.delete else ())}
    if not gone.isdisjoint(names[:length] for length in range(1, len(names) + 1)):
        raise InputError(
            f"--delete would remove the repository {place}",
            safe="nothing was changed",
            hint=f"leave it out: --exclude /{'/'.join(names)}",
        )
    if any(step.names == names for step in plan.folders):
        raise InputError(
            f"the snapshot has a directory where the repository {place} lies",
            safe="nothing was changed",
            hint=f"leave it out: --exclude /{'/'.join(names)}",
        )
