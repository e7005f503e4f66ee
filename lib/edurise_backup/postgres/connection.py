"""Where a PostgreSQL server is, and how we connect to it.

Passwords travel in the connection's own protocol only: never in an argument,
in a child's environment, or in a file on a disk.
"""

from __future__ import annotations

import ipaddress
import os
import pwd
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from urllib.parse import quote

import psycopg
from psycopg.conninfo import conninfo_to_dict

from edurise_backup.errors import ConfigError, UnreachableError
from edurise_backup.model.database import Secret

_KNOWN = {"host", "port", "user", "password", "dbname", "sslmode", "sslrootcert"}
_SSL_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_DEFAULT_SOCKET = "/var/run/postgresql"
_CONNECT_SECONDS = 10


@dataclass(frozen=True, slots=True)
class Address:
    """A server, a role and a database on it; `host` is a name, an IP address or a socket's folder."""

    host: str
    port: int = 5432
    user: str = "postgres"
    database: str = "postgres"
    password: Secret | None = None
    sslmode: str = "prefer"
    sslrootcert: str | None = None

    @property
    def on_this_host(self) -> bool:
        """Whether what is sent stays on this machine: a socket, or a loopback address."""
        if self.host.startswith(("/", "@")) or self.host == "localhost":
            return True
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        """Return the address for a person; without secrets."""
        host = quote(self.host, safe=":") if self.host.startswith("/") else self.host
        return f"postgresql://{quote(self.user)}@{host}:{self.port}/{quote(self.database)}"

    def with_database(self, name: str) -> Address:
        """Return the same server and role with another database."""
        return replace(self, database=name)


def parse_address(url: str, *, password: Secret | None = None, allow_plaintext: bool = False) -> Address:
    """Return the address that a `postgresql://` URL (or a `key=value` string) names.

    Over a network the connection is TLS with the server's name proved
    (`verify-full`) unless `allow_plaintext`. Raises ConfigError for what is
    not an address, and for a URL that asks for less than that.
    """
    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(url).items() if value is not None}
    except psycopg.ProgrammingError:
        # libpq's message may quote the text, and the text may hold a password: neither is shown
        raise ConfigError(
            "the database address is not a PostgreSQL URL",
            hint="write it as postgresql://user@host:5432/name",
        ) from None
    if unknown := sorted(parts.keys() - _KNOWN):
        raise ConfigError(
            f"the database address has settings that are not known here: {', '.join(unknown)}",
            hint=f"known are {', '.join(sorted(_KNOWN))}",
        )
    address = Address(
        host=_one_host(parts.get("host") or _DEFAULT_SOCKET),
        port=_port(parts.get("port") or "5432"),
        user=parts.get("user") or pwd.getpwuid(os.geteuid()).pw_name,
        database=parts.get("dbname") or "postgres",
        password=_password(parts.get("password"), password),
        sslrootcert=parts.get("sslrootcert"),
    )
    return replace(address, sslmode=_ssl_mode(address, parts.get("sslmode"), allow_plaintext))


def _one_host(host: str) -> str:
    if "," in host:
        raise ConfigError(f"the database address names several hosts: {host}", hint="name the one to read from")
    return host


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 65536:
        raise ConfigError(f"the database address has an impossible port: {text}")
    return int(text)


def _password(in_url: str | None, kept: Secret | None) -> Secret | None:
    if kept is not None and in_url is not None:
        raise ConfigError("the database address holds a password although another place of it is set")
    given = kept if in_url is None else Secret(in_url)
    if given is None:
        return None
    if not given.reveal() or re.search(r"[\0\r\n]", given.reveal()):
        raise ConfigError("the database password is empty, or holds a line break or a NUL")
    return given


def _ssl_mode(address: Address, asked: str | None, allow_plaintext: bool) -> str:
    if asked is not None and asked not in _SSL_MODES:
        raise ConfigError(f"sslmode {asked} is not known", hint=f"known are {', '.join(_SSL_MODES)}")
    if address.on_this_host or allow_plaintext:
        return asked or "prefer"
    if asked not in (None, "verify-full"):
        raise ConfigError(
            f"sslmode={asked} would send data to {address.host} without proof of who listens",
            hint="use sslmode=verify-full with sslrootcert, or allow plaintext for this source explicitly",
        )
    return "verify-full"


def connect(
    address: Address,
    *,
    database: str | None = None,
    autocommit: bool = False,
    application_name: str = "edurise-backup",
    options: str = "",
) -> psycopg.Connection[tuple[object, ...]]:
    """Connect to `address`, or to another `database` of the same server; raises UnreachableError.

    A peer that vanishes is noticed within about two minutes (TCP keepalives).
    `options` are server settings as libpq takes them, e.g. `-c row_security=off`.
    """
    try:
        return psycopg.connect(
            dbname=database or address.database,
            client_encoding="UTF8",
            options=options or None,
            autocommit=autocommit,
            **conninfo_of(address, application_name=application_name),  # type: ignore[arg-type]
        )
    except psycopg.OperationalError as error:
        raise unreachable(address.with_database(database or address.database), str(error)) from None


def conninfo_of(address: Address, *, application_name: str) -> dict[str, str | int | None]:
    """Return libpq's parameters of a connection, but the database; the password is among them."""
    return {
        "host": address.host,
        "port": address.port,
        "user": address.user,
        "password": address.password.reveal() if address.password else None,
        "sslmode": address.sslmode,
        "sslrootcert": address.sslrootcert,
        "connect_timeout": _CONNECT_SECONDS,
        "keepalives": 1,
        "keepalives_idle": 30,
        "keepalives_interval": 15,
        "keepalives_count": 6,
        "application_name": application_name,
    }


_REASONS = (
    (
        r"password authentication failed|no password supplied",
        "the password for {user} was refused by {host}",
        "check the password, or the password file",
    ),
    (r"pg_hba\.conf", "the server {host} does not let {user} in from here", "add a line to its pg_hba.conf"),
    (
        r'database ".*" does not exist|permission denied for database|not currently accepting connections',
        "the database {database} cannot be opened on {host}",
        "check its name and the right to connect to it",
    ),
    (r'role ".*" ', "the role {user} cannot log in to {host}", "create the role, or name another one"),
    (r"certificate", "the identity of {host} was not proved", "set sslrootcert to its authority's file"),
    (r"", "no connection to the server {host}", "check that it runs, and its host and port"),
)


def unreachable(address: Address, text: str) -> UnreachableError:
    """Return what libpq said of a connection that was not made, as our error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    said_so = [line for line in lines if "FATAL" in line or "failed" in line or "could not" in line]
    # libpq ends with a question to its user ("Is the server running ...?"); why stands before it
    reason = (said_so or lines or ["no reason given"])[-1]
    said, hint = next((said, hint) for sign, said, hint in _REASONS if re.search(sign, reason))
    host = f"{address.host}:{address.port}"
    message = said.format(user=address.user, host=host, database=address.database)
    return UnreachableError(f"{message} ({reason})", safe="nothing was read or changed", hint=hint)


@contextmanager
def client_environment(address: Address) -> Iterator[dict[str, str]]:
    """Yield the whole environment for a client program; the password is in a file that no disk has.

    The file lives in this process's memory and is reached through its own
    descriptor, so a killed process leaves nothing behind. It is gone, and with
    it the environment useless, when the context ends.
    """
    home = pwd.getpwuid(os.geteuid()).pw_dir
    environment = {
        "PATH": "/usr/bin:/bin",
        "HOME": home,
        "LC_ALL": "C",
        "PGHOST": address.host,
        "PGPORT": str(address.port),
        "PGUSER": address.user,
        "PGDATABASE": address.database,
        "PGSSLMODE": address.sslmode,
        "PGCONNECT_TIMEOUT": str(_CONNECT_SECONDS),
        "PGAPPNAME": "edurise-backup",
    }
    if address.sslrootcert:
        environment["PGSSLROOTCERT"] = address.sslrootcert
    if address.password is None:
        yield environment
        return
    descriptor = os.memfd_create("pgpass", os.MFD_CLOEXEC)
    try:
        os.fchmod(descriptor, 0o600)  # libpq ignores a password file that others may read
        escaped = address.password.reveal().replace("\\", "\\\\").replace(":", "\\:")
        os.write(descriptor, f"*:*:*:*:{escaped}\n".encode())
        environment["PGPASSFILE"] = f"/proc/{os.getpid()}/fd/{descriptor}"
        yield environment
    finally:
        os.close(descriptor)
