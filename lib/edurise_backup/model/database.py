"""What a capture of a PostgreSQL server holds, as it is stored beside the dumps.

Names are exactly the server's. Lists are sorted, so that equal databases give
equal records.
"""

from __future__ import annotations

import hmac
import re
from typing import Literal, Never, TypeVar

import msgspec

from edurise_backup.errors import DamageError, UnsupportedVersionError

RECORD_VERSION = 1
TEXT_RULE = "sum(hashtextextended(row, 0)), columns by name"
"""How `TableFacts.checksum` was made by earlier releases."""
CHECKSUM_RULE = "sum(hash of hash_record_extended(exact values, 0)), columns by name"
"""How it is made (see `postgres.counting`)."""
CHECKSUM_RULES = (TEXT_RULE, CHECKSUM_RULE)
"""Those by which a database can be counted; values made by other rules are not compared."""

Kind = Literal["table", "partitioned table", "materialized view", "foreign table"]


class Secret:
    """A text that no repr, log, traceback or pickle shows; `reveal` gives it."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """Return the text, for the one place that needs it."""
        return self._text

    def __repr__(self) -> str:
        return "Secret('***')"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and hmac.compare_digest(self._text.encode(), other._text.encode())

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> Never:
        raise TypeError("a secret is not serialised")


class Setting(msgspec.Struct, frozen=True):
    """A configuration parameter as the server stores it (a list parameter's value is a quoted list)."""

    name: str
    value: str


class RoleSettings(msgspec.Struct, frozen=True):
    """What `ALTER ROLE … IN DATABASE … SET` left for one role."""

    role: str
    settings: list[Setting]


class Grant(msgspec.Struct, frozen=True, order=True):
    """One privilege on a database; an empty grantee is PUBLIC."""

    grantee: str
    privilege: str
    grantable: bool
    grantor: str


class Extension(msgspec.Struct, frozen=True):
    """An installed extension."""

    name: str
    version: str
    schema: str


class TableFacts(msgspec.Struct, frozen=True):
    """A relation that holds rows; counted in the capture's snapshot."""

    schema: str
    name: str
    kind: Kind
    unlogged: bool
    bytes: int
    """On disk, with TOAST, without indexes."""
    extension: str | None = None
    """The extension that owns the table, and brings its rows itself."""
    rows: int | None = None
    """None for what holds no rows of its own, and for what is not compared."""
    checksum: str | None = None
    archive: str | None = None
    """The file below the database's folder that holds the rows; None: `archive.pgdump`."""

    @property
    def compared(self) -> bool:
        """Whether rows are counted: not those of a foreign server, of an extension, or of a parent's partitions."""
        return self.kind in ("table", "materialized view") and self.extension is None

    @property
    def full_name(self) -> str:
        """The name for a person."""
        return f"{self.schema}.{self.name}"


class SequenceFacts(msgspec.Struct, frozen=True):
    """A sequence. Sequences obey no snapshot: the dump's value lies between those before and after it."""

    schema: str
    name: str
    before: int
    before_called: bool
    after: int
    after_called: bool


class LargeObjects(msgspec.Struct, frozen=True):
    """All large objects together."""

    count: int
    checksum: str


class ObjectFacts(msgspec.Struct, frozen=True, order=True):
    """An object of the schema: what it is called and the state that a restore must bring back.

    The state leaves out expressions, because PostgreSQL prints some of them
    differently once they were restored.
    """

    kind: str
    name: str
    state: str


class DatabaseProperties(msgspec.Struct, frozen=True):
    """What a database is outside of its own content; `pg_dumpall --globals-only` has none of it."""

    owner: str
    encoding: str
    locale_provider: Literal["libc", "icu", "builtin"]
    collate: str
    ctype: str
    locale: str | None
    """The ICU or built-in locale."""
    icu_rules: str | None
    collation_version: str | None
    tablespace: str
    connection_limit: int
    is_template: bool
    comment: str | None
    grants: list[Grant] | None
    """None: the server's defaults."""
    settings: list[Setting]
    role_settings: list[RoleSettings]


class DatabaseRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One database at one moment: `database.json`."""

    record_version: int = RECORD_VERSION
    name: str
    folder: str
    """Where its files lie in the snapshot, e.g. `/databases/name`."""
    server_version: str
    server_major: int
    dump_major: int
    """The major version of the pg_dump that wrote the archives."""
    system_identifier: str | None
    lsn: str
    snapshot_time: str
    """RFC 3339, UTC."""
    properties: DatabaseProperties
    extensions: list[Extension]
    checksum_rule: str = TEXT_RULE
    tables: list[TableFacts]
    sequences: list[SequenceFacts]
    large_objects: LargeObjects
    objects: list[ObjectFacts]
    archives: list[str]
    """The custom-format archives below the folder, `archive.pgdump` first."""

    @property
    def rows(self) -> int:
        """All rows that were counted."""
        return sum(table.rows or 0 for table in self.tables)


class Role(msgspec.Struct, frozen=True, kw_only=True):
    """A role of the server."""

    name: str
    superuser: bool
    inherit: bool
    create_role: bool
    create_database: bool
    login: bool
    replication: bool
    bypass_rls: bool
    connection_limit: int
    valid_until: str | None
    verifier: str | None
    """What proves the password to the server (SCRAM); None: none, or not readable."""
    comment: str | None
    settings: list[Setting]

    def __repr__(self) -> str:
        return f"Role({self.name!r})"  # the verifier stays out of logs and tracebacks


class Membership(msgspec.Struct, frozen=True):
    """`GRANT role TO member`; `inherit` and `set` are None before PostgreSQL 16."""

    role: str
    member: str
    grantor: str | None
    admin: bool
    inherit: bool | None
    set: bool | None


class Tablespace(msgspec.Struct, frozen=True):
    """A tablespace; listed, not made again by a restore."""

    name: str
    owner: str
    location: str


class Globals(msgspec.Struct, frozen=True, kw_only=True):
    """What the databases of a server share: `globals.json`."""

    record_version: int = RECORD_VERSION
    server_version: str
    verifiers_included: bool
    roles: list[Role]
    memberships: list[Membership]
    tablespaces: list[Tablespace]


class Proof(msgspec.Struct, frozen=True):
    """What a comparison looked at and what it found; without findings everything is equal."""

    checks: list[str]
    findings: list[str]


_Record = TypeVar("_Record", DatabaseRecord, Globals)
_PLAIN = re.compile(rb"[A-Za-z0-9_.-]")


def encode_record(record: DatabaseRecord | Globals) -> bytes:
    """Return the record as indented JSON with a final newline."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def decode_record(text: bytes, kind: type[_Record]) -> _Record:
    """Return the record; raises DamageError, and UnsupportedVersionError for one of a later release."""
    try:
        version = msgspec.json.decode(text, type=_Version).record_version
        if version > RECORD_VERSION:
            raise UnsupportedVersionError(
                f"the database record has version {version}; this release knows {RECORD_VERSION}",
                hint="use the release that made the backup, or a later one",
            )
        return msgspec.json.decode(text, type=kind)
    except msgspec.DecodeError as error:
        raise DamageError(f"a database record is not readable: {error}") from error


class _Version(msgspec.Struct):
    record_version: int


def folder_name(name: str) -> str:
    """Return a name as a file name: everything but letters, digits, `_`, `.` and `-` as `%XX` of its UTF-8 bytes.

    Injective; at most 189 characters for a PostgreSQL identifier.
    """
    raw = name.encode("utf-8", "surrogateescape")
    if raw in (b".", b".."):
        return raw.decode().replace(".", "%2E")
    return "".join(chr(byte) if _PLAIN.match(bytes([byte])) else f"%{byte:02X}" for byte in raw)
