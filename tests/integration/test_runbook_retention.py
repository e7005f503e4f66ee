"""The page on retention, run to the letter."""

from __future__ import annotations

import subprocess
import sys

from edurise_backup import operations
from edurise_backup.operations.people import local_actor
from tests.support.calendar import plant_schedule
from tests.support.catalog import Product, environment, opened
from tests.support.documents import blocks, page

PAGE = page("docs/operations/retention.md")
_SHELL = 'edurise-backup() {{ "{python}" -m edurise_backup "$@"; }}\n'


def test_every_command_of_the_page_works_as_it_stands(files_product: Product) -> None:
    settings = files_product.settings
    first = operations.create_backup("files", settings=settings, source="uploads")
    last = operations.create_backup("files", settings=settings, source="uploads")
    operations.verify_backup(last.id, settings=settings)
    with opened(files_product) as catalog:
        plant_schedule(catalog, "files hourly", source="uploads", retention=7)
    pin = operations.pin_backup(first.id, "to be removed", actor=local_actor(), settings=settings)
    hold = operations.hold_backup(first.id, "to be released", actor=local_actor(), settings=settings)
    done = subprocess.run(
        ["bash", "-eu", "-c", _SHELL.format(python=sys.executable) + "\n".join(blocks(PAGE, "sh"))],
        cwd=files_product.home,
        env=environment(files_product.settings_path, {"PIN": str(pin.id), "HOLD": str(hold.id)}),
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "0 backups would be forgotten" in done.stdout
    assert "restore points go within 90 days" in done.stdout
    left = operations.list_protections(settings=settings)
    assert {row.reason for row in left} == {"before the move to the new server", "case 2026-17"}
    assert {row.backup_id for row in left} == {last.id}
