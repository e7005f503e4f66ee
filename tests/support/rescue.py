"""A database as it was and as it is: the live one begins as the other, and then something happens to it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from psycopg import sql

from edurise_backup.errors import CancelledError
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address, connect
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import Tools
from edurise_backup.recovery.rescue.comparison import Comparison, compare
from edurise_backup.recovery.rescue.merging import Rescued, merge
from edurise_backup.recovery.rescue.plan import Options, RescuePlan
from edurise_backup.recovery.rescue.planning import plan_rescue
from edurise_backup.recovery.rescue.shapes import Wanted
from tests.support.postgres import drop_database, execute

Rows = list[tuple[object, ...]]
Asked = str | Wanted


def wanted(asked: Asked) -> Wanted:
    """Return a table of the schema public, or what is given."""
    return Wanted("public", asked) if isinstance(asked, str) else asked


@dataclass(frozen=True)
class Moments:
    """Both databases."""

    sandbox: Address
    live: Address
    tools: Tools

    def compare(self, *tables: Asked) -> Comparison:
        """Compare the tables."""
        return compare(self.sandbox, self.live, [wanted(one) for one in tables])

    def plan(self, *tables: Asked, changed: bool = False, extra: bool = False, triggers: bool = False) -> RescuePlan:
        """Plan to bring the tables back."""
        options = Options(changed=changed, delete_extra=extra, triggers=triggers)
        return plan_rescue(self.sandbox, self.live, [wanted(one) for one in tables], options=options)

    def apply(self, plan: RescuePlan, *, progress: Progress | None = None) -> Rescued:
        """Do what the plan says."""
        tables = [one.wanted for one in plan.tables]
        return merge(
            self.sandbox,
            self.live,
            tables,
            expected=plan.hash,
            tools=self.tools,
            options=plan.options,
            progress=progress,
        )

    def bring_back(self, *tables: Asked, changed: bool = False, extra: bool = False, triggers: bool = False) -> Rescued:
        """Plan, and do it."""
        return self.apply(self.plan(*tables, changed=changed, extra=extra, triggers=triggers))

    def happens(self, *statements: str) -> None:
        """Change the live database."""
        execute(self.live, *statements)

    def rows(self, query: str, *, there: bool = False) -> Rows:
        """Return rows of the live database, or of the sandbox."""
        return rows_of(self.sandbox if there else self.live, query)


MakeMoments = Callable[[str], Moments]


def rows_of(address: Address, query: str) -> Rows:
    """Return a query's rows."""
    with connect(address) as connection:
        return connection.execute(query.encode()).fetchall()


@pytest.fixture(scope="session")
def two_databases(cluster: Server) -> Iterator[tuple[Address, Address]]:
    """Yield the addresses of two databases for all tests, one after another: making them takes longer than a test."""
    names = [f"{when}_{secrets.token_hex(6)}" for when in ("past", "present")]
    for name in names:
        execute(cluster.address, sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    yield cluster.address.with_database(names[0]), cluster.address.with_database(names[1])
    for name in names:
        drop_database(cluster.address, name)


@pytest.fixture
def moments(two_databases: tuple[Address, Address], tools: Tools) -> MakeMoments:
    """Return a function that runs a script in both databases, which were emptied before."""

    def make(script: str) -> Moments:
        for address in two_databases:
            empty(address)
            execute(address, script)
        return Moments(*two_databases, tools)

    return make


def empty(address: Address) -> None:
    """Drop everything of users from the database."""
    reset = sql.SQL("ALTER DATABASE {} RESET ALL").format(sql.Identifier(address.database))
    execute(address.with_database("postgres"), reset)
    schemas = rows_of(address, "SELECT nspname::text FROM pg_namespace WHERE nspname !~ '^(pg_|information_schema)'")
    execute(
        address,
        *(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(str(name))) for (name,) in schemas),
        sql.SQL("CREATE SCHEMA public"),
    )


class Scissors:
    """A progress that stops the work when it was asked `after` times whether to go on; `asked` counts."""

    def __init__(self, after: int, *, cut: Callable[[], None] | None = None) -> None:
        self._after = after
        self._cut = cut
        self.asked = 0

    def phase(self, name: str, *, bytes_total: int | None = None) -> None:
        """Begin a phase."""

    def advance(self, *, bytes_done: int = 0, files_done: int = 0) -> None:
        """Count."""

    def raise_if_cancelled(self) -> None:
        """Stop the work in its turn, by an error or by what `cut` does."""
        self.asked += 1
        if self.asked == self._after:
            if self._cut is None:
                raise CancelledError("cut")
            self._cut()
