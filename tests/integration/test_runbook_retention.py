"""The page on retention, run to the letter."""

from __future__ import annotations

from edurise_backup import operations
from edurise_backup.operations.people import local_actor
from tests.support.calendar import plant_schedule
from tests.support.catalog import Product, opened, run_as_typed
from tests.support.documents import blocks, page

PAGE = page("docs/operations/retention.md")


def test_every_command_of_the_page_works_as_it_stands(files_product: Product) -> None:
    settings = files_product.settings
    first = operations.create_backup("files", settings=settings, source="uploads")
    last = operations.create_backup("files", settings=settings, source="uploads")
    operations.verify_backup(last.id, settings=settings)
    with opened(files_product) as catalog:
        plant_schedule(catalog, "files hourly", source="uploads", retention=7)
    pin = operations.pin_backup(first.id, "to be removed", actor=local_actor(), settings=settings)
    hold = operations.hold_backup(first.id, "to be released", actor=local_actor(), settings=settings)
    said = run_as_typed(files_product, "\n".join(blocks(PAGE, "sh")), {"PIN": str(pin.id), "HOLD": str(hold.id)})
    assert "0 backups would be forgotten" in said
    assert "restore points go within 90 days" in said
    left = operations.list_protections(settings=settings)
    assert {row.reason for row in left} == {"before the move to the new server", "case 2026-17"}
    assert {row.backup_id for row in left} == {last.id}
