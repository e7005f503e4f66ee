"""The roles that the pages name: one that backs everything up without a warning, and one that brings it back."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edurise_backup import operations
from edurise_backup.errors import ConfigError, ForbiddenError
from edurise_backup.model.jobs import BackupType, JobStatus, RecoveryJob, RecoveryTarget, Verdict
from edurise_backup.operations.doctor import examine
from edurise_backup.operations.findings import Level
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.server import Server
from tests.support.catalog import Acting, Product, quote_address, run, write_private
from tests.support.documents import blocks, page, section
from tests.support.postgres import databases_of, drop_database, execute

CONFIGURATION = "docs/operations/configuration.md"


def statements(heading: str) -> list[str]:
    """Return the SQL that the page gives under a heading."""
    (text,) = blocks(section(page(CONFIGURATION), heading), "sql")
    return [line.partition("--")[0].strip() for line in text.splitlines() if line.partition("--")[0].strip()]


@pytest.fixture
def documented(product: Product) -> Iterator[Product]:
    """Yield the product with the role of the page as the one who backs up."""
    assert product.database
    server = product.database.with_database("postgres")
    execute(server, *(one.replace("'…'", "'secret'") for one in statements("What a role may read")))
    write_private(product.home / "database.password", "secret")
    product.configure(f"user={server.user} ", "user=backup ", after="[[database]]")
    yield product
    for name in databases_of(server) - {"template0"}:
        execute(server.with_database(name), "DROP OWNED BY backup")
    execute(server, "DROP ROLE backup")


def recovered(product: Product, target: Path, **wanted: object) -> RecoveryJob:
    where = RecoveryTarget(str(target), **wanted)  # type: ignore[arg-type]
    return operations.initiate_recovery("latest", where, settings=product.settings)


def as_superuser(product: Product, server: Address) -> None:
    """Name the superuser as the role that recovers."""
    assert server.password
    write_private(product.home / "recovery.password", server.password.reveal())
    url = quote_address(server)
    product.configure(
        "large_table_mib = 1",
        f'large_table_mib = 1\nrecovery = {{ url = "{url}", password_file = "recovery.password" }}',
    )


def test_the_documented_role_backs_up_without_a_warning_and_another_brings_it_back(
    documented: Product, tmp_path: Path
) -> None:
    assert documented.database
    job = operations.create_backup(settings=documented.settings)
    assert (job.status, job.warnings) == (JobStatus.COMPLETED, ())
    told = [one for one in examine(documented.settings) if one.subject == "school" and one.level is Level.WARNING]
    assert told[-1].message == (
        "a recovery of its databases would be refused: backup lacks CREATEDB, membership in postgres "
        "(to give objects to their owners)"
    )
    with pytest.raises(ForbiddenError, match="backup cannot bring these databases back on school: it lacks CREATEDB"):
        recovered(documented, tmp_path / "refused")
    assert not (tmp_path / "refused").exists()

    alone = recovered(documented, tmp_path / "files", parts=(BackupType.FILES, BackupType.CONFIGURATION))
    assert alone.verification_status is Verdict.PASSED

    as_superuser(documented, documented.database.with_database("postgres"))
    found = [one for one in examine(documented.settings) if one.subject == "school"]
    assert found[-1].level is Level.FINE
    assert "may bring its databases back" in found[-1].message
    assert recovered(documented, tmp_path / "whole").verification_status is Verdict.PASSED
    drop_database(documented.database, "school_restored")


def test_a_role_that_is_no_superuser_brings_back_what_belongs_to_it(documented: Product, tmp_path: Path) -> None:
    assert documented.database
    server = documented.database.with_database("postgres")
    execute(server, *(one.replace("'…'", "'secret'") for one in statements("Who recovers")))
    execute(server, "GRANT postgres TO recovery")
    operations.create_backup(BackupType.DATABASE, settings=documented.settings)
    documented.configure("user=backup ", "user=recovery ", after="[[database]]")
    try:
        done = recovered(documented, tmp_path / "whole")
        assert (done.status, done.findings) == (JobStatus.COMPLETED, ())
        with connect(replace(documented.database, database="school_restored")) as connection:
            assert connection.execute("SELECT count(*) FROM pupils").fetchone() == (300,)
    finally:
        drop_database(documented.database, "school_restored")
        execute(server, "DROP ROLE recovery")


def test_on_an_empty_server_the_roles_that_it_makes_get_their_objects_back(
    product: Product, cluster: Server, tmp_path: Path
) -> None:
    assert product.database
    server = product.database.with_database("postgres")
    execute(server, "CREATE ROLE teacher NOLOGIN")
    product.execute("ALTER TABLE visits OWNER TO teacher", "ALTER SCHEMA public OWNER TO teacher")
    operations.create_backup(BackupType.DATABASE, settings=product.settings)
    execute(cluster.address, *(one.replace("'…'", "'secret'") for one in statements("Who recovers")))
    write_private(product.home / "recovery.password", "secret")
    url = quote_address(replace(cluster.address, user="recovery", database="postgres"))
    product.configure(
        "large_table_mib = 1",
        f'large_table_mib = 1\nrecovery = {{ url = "{url}", password_file = "recovery.password" }}',
    )
    try:
        with pytest.raises(ForbiddenError, match="membership in postgres"):
            recovered(product, tmp_path / "refused")
        execute(cluster.address, "GRANT postgres TO recovery")
        done = recovered(product, tmp_path / "whole")
        assert (done.status, done.findings) == (JobStatus.COMPLETED, ())
        with connect(cluster.address, database="school_restored") as connection:
            query = "SELECT tableowner FROM pg_tables WHERE tablename = 'visits'"
            assert connection.execute(query).fetchone() == ("teacher",)
    finally:
        drop_database(cluster.address, "school_restored")
        execute(cluster.address, "DROP ROLE IF EXISTS teacher", "DROP ROLE recovery")
        drop_database(server, "school")
        execute(server, "DROP ROLE teacher")


def test_a_database_that_fails_keeps_nothing_else_back(product: Product, tmp_path: Path) -> None:
    assert product.database
    operations.create_backup(settings=product.settings)
    server = product.database.with_database("postgres")
    taken = Acting({"restore database school_restored": lambda: execute(server, "CREATE DATABASE school_restored")})
    done = operations.initiate_recovery(
        "latest", RecoveryTarget(str(tmp_path / "some")), settings=product.settings, progress=taken
    )
    assert (done.status, done.verification_status) == (JobStatus.FAILED, Verdict.FAILED)
    assert done.error is not None
    assert done.error.startswith("the database school_restored could not be brought back; everything else is there")
    assert done.hint == "restore under another name, or drop it yourself first"
    assert product.restored_differences(tmp_path / "some") == []
    assert "exists already" in done.findings[0]

    told = run(product, "recover", "latest", "--part", "files", "--part", "database", "-t", tmp_path / "refused")
    assert told.returncode == 2
    drop_database(product.database, "school_restored")


def test_a_recovering_role_without_a_url_is_a_mistake_of_the_configuration(product: Product) -> None:
    product.configure("large_table_mib = 1", 'large_table_mib = 1\nrecovery = { password_file = "database.password" }')
    with pytest.raises(ConfigError, match=r"database\[0\]\.recovery\.url"):
        _ = product.settings
