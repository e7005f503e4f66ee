"""How a repository is reached: its store behind limits; made, opened, locked."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edurise_backup.errors import DamageError, InputError, NotFoundError
from edurise_backup.model.location import S3Access, directory_of, is_s3, parse_s3
from edurise_backup.ports import AROUND, Clock, Store, Vault, utc_now
from edurise_backup.repository.locks import Lock
from edurise_backup.repository.repository import Repository
from edurise_backup.s3.traffic import Meter
from edurise_backup.stores.limited import LimitedStore, Line, daily
from edurise_backup.stores.local import LocalStore
from edurise_backup.stores.retrying import RetryingStore

if TYPE_CHECKING:
    from edurise_backup.model.bandwidth import RateSchedule
    from edurise_backup.stores.s3 import S3Store


Around = Callable[[Store], Store]


_MAKING_SECONDS = 60.0
"""A server that is ill for so long is told to whoever makes a repository there."""


@dataclass(frozen=True, slots=True)
class Limits:
    """How much a store may transfer, bytes a second (0: no limit) or by the time of day.

    `stop` raises when the work was cancelled.
    """

    upload: int | RateSchedule
    download: int | RateSchedule
    stop: Callable[[], None]
    silence: float | None = None
    """Seconds that a server may be ill before it is given up; None: the store's own patience."""
    meter: Meter | None = None
    """Where a bucket's requests are counted."""
    clock: Clock = utc_now

    def around(self, store: Store) -> Store:
        """Return the store behind lines of this speed."""
        if not (self.upload or self.download):
            return store
        up, down = (self._line(rate) for rate in (self.upload, self.download))
        return LimitedStore(store, upload=up, download=down, stop=self.stop)

    def _line(self, rate: int | RateSchedule) -> Line | None:
        if not rate:
            return None
        return Line(rate if isinstance(rate, int) else daily(rate.at, clock=self.clock))


def open_store(
    location: str,
    limits: Limits | None = None,
    *,
    around: Around = AROUND.store,
    access: S3Access | None = None,
) -> Store:
    """Return the store at `location`: a directory (a path, or with stock restic's prefix `local:`), or `s3:…`.

    `access` says how a bucket is reached; None: as the environment says.
    """
    return _opened_store(location, limits, around, access)[0]


def _opened_store(
    location: str, limits: Limits | None, around: Around, access: S3Access | None, *, create: bool = False
) -> tuple[Store, Vault | None]:
    """Return the store, and its vault when it locks objects; `create` allows its directory to be made."""
    if not location.removeprefix("local:"):
        raise InputError("no repository is named", hint="set EDURISE_REPOSITORY or use --repository")
    if is_s3(location):
        bucket = open_bucket(location, limits, access=access)
        vault = bucket.vault if bucket.vault.lock else None
        wrapped = around(bucket)  # repeats its requests itself
        return wrapped if limits is None else limits.around(wrapped), vault
    directory = directory_of(location)
    if directory is None:
        raise InputError(
            f"stores of the kind {location.partition(':')[0]!r} are not supported",
            safe="nothing was done",
            hint="use a directory (with local: before it when its name looks like this), or s3:https://HOST/BUCKET",
        )
    store = around(LocalStore(directory, create=create))
    if limits is None:
        return RetryingStore(store), None
    return RetryingStore(limits.around(store), stop=limits.stop), None  # what is sent again goes over the line, too


def open_bucket(location: str, limits: Limits | None = None, *, access: S3Access | None = None) -> S3Store:
    """Return the bucket at `s3:…` itself, as `open_store` opens it."""
    from edurise_backup.config import s3_access
    from edurise_backup.s3.perseverance import Patience
    from edurise_backup.stores.s3 import S3Settings, S3Store  # whoever works on a directory does not wait for it

    settings = S3Settings() if limits is None else S3Settings(stop=limits.stop, meter=limits.meter)
    if limits is not None and limits.silence is not None:
        settings = replace(settings, patience=Patience(seconds=limits.silence))
    return S3Store(parse_s3(location), s3_access() if access is None else access, settings)


def create_repository(
    location: str,
    passphrase: str,
    *,
    around: Around = AROUND.store,
    access: S3Access | None = None,
    stop: Callable[[], None] = lambda: None,
) -> tuple[Repository, str]:
    """Make a repository; return it and its recovery key, shown once.

    A bucket is probed first. Somebody waits for this: a server that is ill is given up after a minute, and `stop`
    raises when nobody waits any more. Raises ConflictError over an existing one, InputError where lifecycle rules
    would harm it.
    """
    limits = Limits(0, 0, stop, silence=_MAKING_SECONDS)
    store, vault = _opened_store(location, limits, around, access, create=True)
    if not is_s3(location):
        return Repository.create(store, passphrase)
    from edurise_backup.operations.probing import keep_probe, probe_location

    found = probe_location(location, access=access, limits=limits)
    made = Repository.create(store, passphrase, vault=vault)
    keep_probe(made[0], found)
    return made


def open_repository(
    location: str,
    passphrase: str,
    limits: Limits | None = None,
    *,
    around: Around = AROUND.store,
    access: S3Access | None = None,
) -> Repository:
    """Open the repository at `location`."""
    store, vault = _opened_store(location, limits, around, access)
    return Repository.open(store, passphrase, vault=vault)


@contextmanager
def readable(repository: Repository, *, lock: bool = True) -> Iterator[None]:
    """Have the index loaded for reading; without a lock also on a medium that cannot be written.

    Whoever locks exclusively after our first look sees our lock at his second
    one, if ours was written before it: then we need no second look. What is read
    is proved by its id anyway; where something is missing, the look says whose
    doing that is.
    """
    with repository.lock(at_once=True) if lock else nullcontext() as held:
        repository.load_index(strict=False)
        if held is not None and not held.quick:
            held.settle()
        try:
            yield
        except (DamageError, NotFoundError):
            if held is not None:
                held.settle()
            raise


@contextmanager
def locked(repository: Repository, *, exclusive: bool = False) -> Iterator[Lock]:
    """Hold a lock and have the index loaded; who may remove things must be able to read all of it.

    A shared lock settles while the work begins: whoever publishes confirms it first.
    """
    with repository.lock(exclusive=exclusive, at_once=not exclusive) as lock:
        repository.load_index(strict=exclusive)
        yield lock
