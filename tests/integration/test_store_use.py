"""What jobs ask of a bucket: counted, within a budget, priced, quoted before a recovery, and ended with the job."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.config import s3_access
from edurise_backup.errors import BackupError, CancelledError
from edurise_backup.model.jobs import BackupType, JobId, JobStatus, RecoveryTarget
from edurise_backup.model.prices import demand_of
from edurise_backup.model.traffic import Traffic
from edurise_backup.monitoring.progress import SilentProgress
from edurise_backup.operations.opening import open_store
from tests.support.catalog import Product, run, run_json
from tests.support.s3_product import in_bucket
from tests.support.s3_proxy import S3Proxy, WireFault
from tests.support.s3_servers import S3Server
from tests.support.s3_stores import new_bucket

pytestmark = pytest.mark.usefixtures("credential")
PRICES = """prices = { currency = "EUR", writes_per_1000 = 5.0, reads_per_1000 = 0.4, egress_gib = 0.09 }
"""


def traffic_of(product: Product, job_id: JobId) -> Traffic:
    with operations.open_catalog(product.settings) as catalog:
        return catalog.store_use.traffic_of(job_id)


@pytest.fixture(params=["rclone", pytest.param("swift", marks=pytest.mark.slow)])
def product(request: pytest.FixtureRequest, files_product: Product) -> Product:
    """Give a product whose repository is in a bucket, with prices."""
    server: S3Server = request.getfixturevalue(request.param)
    made = in_bucket(files_product, server, new_bucket(server), PRICES)
    operations.make_repository(made.settings)
    return made


def test_each_job_keeps_its_requests_and_stays_within_its_budget(
    product: Product, request: pytest.FixtureRequest
) -> None:
    """A second backup of what did not change, its verification, a check, a prune: none grows with the history."""
    settings = product.settings
    # a busy Swift refuses at times and is asked again, and its listings lag: what one lacks is stored again
    room = {"rclone": 1, "swift": 2}[request.node.callspec.params["product"]]
    for _ in range(3):
        operations.create_backup("files", settings=settings)
    backup = operations.create_backup("files", settings=settings)
    spent = traffic_of(product, backup.id)
    # one tree more, in a pack and an index, when others wrote in a folder above in the meantime: /tmp has a time, too
    assert 3 <= spent.requests("PutObject") <= 3 * room + 2, "its lock, its snapshot, its record"
    assert spent.total.requests <= 60 * room, spent
    assert spent.total.sent < 5000
    verification = operations.verify_backup(backup.id, settings=settings)
    spent = traffic_of(product, verification.id)
    assert spent.requests("PutObject") <= 3 * room
    assert spent.total.requests <= 45 * room, spent
    first = operations.check_repository(settings=settings)
    assert traffic_of(product, first.id).requests("GetBucketLifecycleConfiguration") == 1, "it probes"
    check = operations.check_repository(settings=settings)
    spent = traffic_of(product, check.id)
    assert spent.requests("GetBucketLifecycleConfiguration") == 0, "not again within a week"
    assert spent.total.requests <= 60 * room, spent
    prune = operations.prune_repository(settings=settings)
    spent = traffic_of(product, prune.id)
    assert spent.total.requests <= 90 * room, spent


def test_a_job_that_is_stopped_keeps_what_it_asked_for(product: Product) -> None:
    backup = operations.create_backup("files", settings=product.settings)
    stop, asked = threading.Event(), []

    class StopsWhenReading(SilentProgress):
        """Asks the job to stop once it has begun."""

        def phase(self, name: str, *, bytes_total: int | None = None) -> None:
            asked.append(name)
            stop.set()

    with pytest.raises(CancelledError):
        operations.verify_backup(backup.id, settings=product.settings, stop=stop, progress=StopsWhenReading())
    assert asked
    with operations.open_catalog(product.settings) as catalog:
        kinds = catalog.store_use.traffic_since(catalog.clock() - timedelta(hours=1))
        [verification] = catalog.verifications.newest()
    assert [kind.kind for kind in kinds] == ["backup", "verification"]
    assert verification.status is JobStatus.CANCELLED
    assert traffic_of(product, verification.id).total.requests > 3


def test_costs_are_told_by_kind_of_job_with_the_month_and_a_recovery(product: Product) -> None:
    backup = operations.create_backup(BackupType.FULL, settings=product.settings)
    found = run_json(product, "costs")
    assert isinstance(found, dict)
    assert {one["kind"] for one in found["this_month"]} == {"backup"}
    assert found["month"]["price"]["currency"] == "EUR"
    assert found["month"]["price"]["total"] > 0
    assert (found["recovery"]["backup"], found["recovery"]["measured"]) == (str(backup.id), False)
    verification = operations.verify_backup(backup.id, settings=product.settings)
    found = run_json(product, "costs")
    assert isinstance(found, dict)
    assert found["recovery"]["measured"] is True
    assert found["recovery"]["demand"]["received"] == traffic_of(product, verification.id).total.received
    assert "the month, going on like this" in run(product, "costs").stdout


def test_a_recovery_is_quoted_before_it_and_asks_for_no_more(product: Product, tmp_path: Path) -> None:
    for number in range(40):
        product.put(f"essays/{number}.txt", b"%d" % number * 4000)
    backup = operations.create_backup(BackupType.FULL, settings=product.settings)
    quote = operations.quote_recovery(backup.id, settings=product.settings)
    assert quote.price is not None
    recovery = operations.initiate_recovery(
        backup.id, RecoveryTarget(str(tmp_path / "target")), settings=product.settings
    )
    spent = demand_of(traffic_of(product, recovery.id))
    assert spent.reads <= quote.demand.reads * 1.5
    assert quote.demand.reads <= spent.reads * 1.5
    assert 0.5 < spent.received / quote.demand.received < 2
    assert recovery.restored_bytes == quote.restored_bytes
    said = run(product, "recover", "latest", "--dry-run")
    assert said.returncode == 0, said.stderr
    assert "EUR" in said.stdout
    assert "nothing was changed" in said.stdout
    part = json.loads(run(product, "recover", "latest", "--dry-run", "--part", "configuration", "--json").stdout)
    assert [one["part"] for one in part["parts"]] == ["configuration"]
    assert part["demand"]["received"] < quote.demand.received


def test_pages_and_lists_say_one_size_of_the_repository_from_the_first_backup_on(files_product: Product) -> None:
    settings = files_product.settings
    for act in (operations.create_backup, operations.check_repository, operations.create_backup):
        act(settings=settings)
        size = sum(path.stat().st_size for path in (files_product.repository / "data").rglob("*") if path.is_file())
        (primary,) = operations.list_stores(settings=settings)
        assert (primary.bytes, operations.store_costs(settings=settings).stored_bytes) == (size, size)


def test_a_directory_costs_nothing_and_says_so(files_product: Product) -> None:
    settings = files_product.settings
    backup = operations.create_backup(BackupType.FULL, settings=settings)
    quote = operations.quote_recovery(backup.id, settings=settings)
    assert quote.price is None
    assert sum(part.requests for part in quote.parts) > 0
    assert "which costs nothing" in run(files_product, "recover", "latest", "--dry-run").stdout
    assert "a directory has none" in run(files_product, "costs").stdout
    missing = run(files_product, "recover", "latest")
    assert missing.returncode == 2
    assert "--target" in missing.stderr


# Cancelling while the store is ill


def ends(work: Callable[[], object], until: Callable[[], bool], cancel: Callable[[], object]) -> BackupError | None:
    """Start the work, cancel it once something is so, and return the error that it ended with."""
    caught: list[BackupError] = []

    def run_it() -> None:
        try:
            work()
        except BackupError as error:
            caught.append(error)

    thread = threading.Thread(target=run_it, daemon=True)
    thread.start()
    while not until():
        thread.join(0.05)
        assert thread.is_alive(), caught
    cancel()
    thread.join(60)
    assert not thread.is_alive(), "it goes on asking a store that is ill, for up to ten minutes"
    return caught[0] if caught else None


@pytest.mark.parametrize("when", ["opening", "working"])
def test_a_job_that_is_cancelled_while_its_store_is_ill_ends(
    files_product: Product, rclone: S3Server, when: str
) -> None:
    with S3Proxy(rclone) as proxy:
        settings = in_bucket(files_product, proxy.server, new_bucket(rclone)).settings
        operations.make_repository(settings)
        path = {"opening": "config", "working": "data/"}[when]
        ill = WireFault("GET|HEAD|PUT", path, status=503, code="SlowDown", times=10**6)
        proxy.faults.append(ill)
        stop = threading.Event()
        error = ends(
            lambda: operations.create_backup("files", settings=settings, stop=stop),
            lambda: ill.fired > 1,
            stop.set,
        )
        assert isinstance(error, CancelledError)
        store = open_store(settings.repository.location, access=s3_access(settings.repository))
        assert list(store.list("locks")) == [], "who was cancelled takes his lock away"
    [job] = operations.get_backups(settings=settings) or [None]
    if when == "working":
        assert job is not None
        assert job.status is JobStatus.CANCELLED


def test_a_queued_job_that_cannot_open_its_repository_keeps_what_it_asked_for(
    files_product: Product, rclone: S3Server
) -> None:
    settings = in_bucket(files_product, rclone, new_bucket(rclone)).settings  # nobody has made one there
    job_id = operations.queue_backup("files", settings=settings)
    with pytest.raises(BackupError):
        operations.create_backup("files", settings=settings, job_id=job_id)
    assert traffic_of(files_product, job_id).total.requests > 0


def test_a_queued_job_that_is_cancelled_in_its_row_stops_asking(files_product: Product, rclone: S3Server) -> None:
    with S3Proxy(rclone) as proxy:
        settings = in_bucket(files_product, proxy.server, new_bucket(rclone)).settings
        operations.make_repository(settings)
        job_id = operations.queue_check(settings=settings)
        ill = WireFault("GET|HEAD", "config", status=503, code="SlowDown", times=10**6)
        proxy.faults.append(ill)
        with operations.open_catalog(settings) as catalog:
            error = ends(
                lambda: operations.check_repository(settings=settings, job_id=job_id),
                lambda: ill.fired > 1,
                lambda: catalog.maintenance.request_cancel(job_id),
            )
            assert isinstance(error, CancelledError)
            assert catalog.maintenance.get(job_id).status is JobStatus.CANCELLED
