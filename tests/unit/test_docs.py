"""The pages say what the code does: signatures, types, errors, deployments; and they name no machine."""

from __future__ import annotations

import inspect
import json
import re
from dataclasses import MISSING, fields
from pathlib import Path

import pytest

from edurise_backup import errors, operations
from edurise_backup.model.jobs import BackupFilters, BackupType, JobStatus, RecoveryTarget
from flows.deployments import DEPLOYMENTS
from tests.support.documents import ROOT, blocks, page, rows, section

API = "docs/api/backup.md"
PAGES = sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").rglob("*.md"))
CALLS = (
    "create_backup",
    "get_backups",
    "verify_backup",
    "initiate_recovery",
    "get_backup_stats",
    "queue_backup",
    "queue_verification",
    "queue_recovery",
    "rebuild_catalog",
    "copy_backups",
    "verify_copy",
    "check_copy",
    "get_copies",
    "register_store",
    "probe_store",
    "list_stores",
    "remove_store",
    "forget_backups",
    "bring_backups_back",
    "accept_gone",
    "prune_repository",
    "check_repository",
    "queue_check",
    "queue_prune",
    "schedule_backup",
    "edit_schedule",
    "pause_schedule",
    "resume_schedule",
    "remove_schedule",
    "list_schedules",
    "preview_schedule",
    "schedule_status",
)


def shown(parameter: inspect.Parameter) -> str:
    """Return a parameter as the page writes it."""
    if parameter.default is inspect.Parameter.empty:
        return parameter.name
    name = getattr(parameter.default, "__name__", "") or repr(parameter.default)
    text = json.dumps(parameter.default) if isinstance(parameter.default, str) else name
    return f"{parameter.name}={text}"


def signature_of(name: str) -> str:
    """Return a call's signature as the page writes it."""
    signature = inspect.signature(getattr(operations, name))
    words = []
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in words:
            words.append("*")
        words.append(shown(parameter))
    return f"{name}({', '.join(words)}) -> {signature.return_annotation}"


def test_the_page_shows_the_signatures_that_the_calls_have() -> None:
    told = " ".join(" ".join(blocks(page(API), "")).split())
    for name in CALLS:
        assert signature_of(name) in told, signature_of(name)


def test_the_page_lists_every_type_status_filter_and_field_of_a_target() -> None:
    text = page(API)
    assert [row[0] for row in rows(section(text, "Types of backup"))[1:]] == [kind.value for kind in BackupType]
    for status in JobStatus:
        assert f"`{status.value}`" in text, status
    listing = section(text, "`get_backups`")
    for field in fields(BackupFilters):
        assert f"`{field.name}`" in listing, field.name
    table = {row[0]: row[1] for row in rows(section(text, "`initiate_recovery`"))[1:]}
    assert list(table) == [field.name for field in fields(RecoveryTarget)]
    suffix = next(field.default for field in fields(RecoveryTarget) if field.name == "database_suffix")
    assert suffix is not MISSING
    assert table["database_suffix"] == suffix


def test_the_page_lists_every_error_with_its_exit_status() -> None:
    told: dict[str, int] = {}
    for names, _, status in rows(section(page(API), "Errors"))[1:]:
        for name in re.findall(r"\w+", names):
            told[name] = int(status)
    known = {
        name: kind.exit_status
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.BackupError) and kind is not errors.BackupError
    }
    assert told == known


def test_the_page_lists_every_deployment_with_its_parameters_and_defaults() -> None:
    told = [tuple(row[:3]) for row in rows(section(page(API), "Prefect deployments"))[1:]]
    known = []
    for deployment in DEPLOYMENTS:
        for name, parameter in inspect.signature(deployment.flow.fn).parameters.items():
            default = deployment.parameters.get(name, parameter.default)
            text = "" if default is inspect.Parameter.empty else json.dumps(default).strip('"')
            known.append((deployment.full_name, name, text))
    assert sorted(told) == sorted(known)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_names_no_folder_of_a_developers_machine_and_links_to_what_exists(path: str) -> None:
    text = page(path)
    assert not re.search(r"(?<![\w/])/(work|root)\b", text)
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        if "://" not in target:
            assert (Path(ROOT / path).parent / target).exists(), target
    for target in set(re.findall(r"`((?:docs|tests|lib|flows|dashboard)/[\w./-]+\.\w+)`", text)):
        assert (ROOT / target).exists(), target
