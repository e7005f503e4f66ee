"""The stores that this product knows, and how the repository in each is opened.

One that the configuration names and one that an admin registered are the same
to everything that comes after.
"""

from __future__ import annotations

from collections.abc import Collection
from urllib.parse import urlsplit

from edurise_backup.catalog.stores import Seen
from edurise_backup.config import Settings, s3_access
from edurise_backup.errors import BackupError, ConfigError, ConflictError, NotARepositoryError, NotFoundError
from edurise_backup.model.location import directory_of, is_s3, parse_s3
from edurise_backup.model.settings import RepositorySettings
from edurise_backup.model.stores import PRIMARY, KnownStore
from edurise_backup.operations.catalogs import Catalog
from edurise_backup.operations.opening import Limits, open_repository
from edurise_backup.operations.secrets import read_secret
from edurise_backup.repository.layout import Kind
from edurise_backup.repository.repository import Repository


def configured_stores(settings: Settings) -> tuple[KnownStore, ...]:
    """Return the primary, when there is one, and the copies that the configuration names, in its order."""
    primary = (KnownStore(PRIMARY, settings.repository),) if settings.repository.location else ()
    return (*primary, *(KnownStore(copy.name, copy) for copy in settings.copies))


def known_stores(settings: Settings, catalog: Catalog) -> tuple[KnownStore, ...]:
    """Return every store, the primary first; those of the configuration get their rows in the register."""
    configured = configured_stores(settings)
    catalog.stores.note_configured(configured)
    names = {store.name for store in configured}
    registered = [row for row in catalog.stores.all() if row.settings and row.name not in names]
    return (*configured, *(row.known for row in registered))


def known_copies(settings: Settings, catalog: Catalog) -> tuple[KnownStore, ...]:
    """Return the copies: those of the configuration, then the registered ones."""
    return tuple(store for store in known_stores(settings, catalog) if not store.primary)


def find_store(settings: Settings, catalog: Catalog, name: str) -> KnownStore:
    """Return the store of this name; raises NotFoundError."""
    found = next((store for store in known_stores(settings, catalog) if store.name == name), None)
    if found is None:
        raise NotFoundError(
            f"this machine's configuration and catalog know no store {name!r}",
            hint="give all machines the same configuration",
        )
    return found


def find_copy(settings: Settings, catalog: Catalog, name: str) -> KnownStore:
    """Return the copy of this name; raises NotFoundError that names those there are."""
    copies = {store.name: store for store in known_copies(settings, catalog)}
    if name not in copies:
        raise NotFoundError(
            f"no copy is named {name!r}",
            safe="nothing was done",
            hint=f"there are {', '.join(copies)}"
            if copies
            else "name one in [[copy]], or `edurise-backup store register`",
        )
    return copies[name]


def passphrase_of(store: KnownStore) -> str:
    """Read the passphrase of a store; raises ConfigError when no place of it is named, or it is not there."""
    place = store.settings.password("repository" if store.primary else f"copy {store.name}")
    if not place:
        table = "[repository]" if store.primary else "[[copy]]"
        raise ConfigError(
            f"no password file is configured, nor another place of the passphrase of the {store.name}",
            safe="nothing was done",
            hint=f"name one in {table} of the configuration, or set EDURISE_PASSWORD_FILE (of the primary)",
        )
    return read_secret(place).reveal()


def opened_store(settings: Settings, store: KnownStore, limits: Limits | None = None) -> Repository:
    """Open the repository of a store; raises what opening raises."""
    return open_repository(
        store.settings.location,
        passphrase_of(store),
        limits,
        around=settings.around.store,
        access=s3_access(store.settings),
    )


def opened_copy(settings: Settings, catalog: Catalog, store: KnownStore, limits: Limits | None = None) -> Repository:
    """Open a copy, and note in the register that it opens or why it does not.

    Raises what opening raises, and ConflictError where another repository lies
    than the one that copies went to before: nothing is copied, or dropped, there.
    """
    try:
        repository = opened_store(settings, store, limits)
    except BackupError as error:
        if isinstance(error, NotARepositoryError):
            error.hint = f"`edurise-backup store init {store.name}` makes it"
            if catalog.stores.get(store.name).repository_id:
                error.hint = (
                    f"there was one: bring it back to its place (a mount, a bucket); lost for good: {error.hint}"
                )
        catalog.stores.note_trouble(store.name, error.message, unreachable=True)
        raise
    before = catalog.stores.get(store.name).repository_id
    if before and before != repository.config.id:
        other = ConflictError(
            f"in the place of the copy {store.name} lies another repository than before",
            safe="nothing was done there",
            hint="find out what has become of it (a wrong mount, another bucket?); when it is meant: "
            f"`edurise-backup store adopt {store.name}`, then copy anew",
        )
        catalog.stores.note_trouble(store.name, other.message, unreachable=True)
        raise other
    return repository


def note_opened(settings: Settings, catalog: Catalog, store: KnownStore, repository: Repository) -> None:
    """Note what a look into an opened store shows: its repository, how much is there, and whether it stands alone."""
    primary = KnownStore(PRIMARY, settings.repository)
    own_key = own_place = None
    if not store.primary and settings.repository.location:
        own_place = stands_apart(store.settings.location, primary.settings.location)
        own_key = passphrase_of(store) != passphrase_of(primary)
    seen = Seen(
        repository.config.id, len(repository.box.ids(Kind.SNAPSHOT)), sum(packs_of(repository)), own_key, own_place
    )
    catalog.stores.note_seen(store.name, seen)


def packs_of(repository: Repository) -> list[int]:
    """Return the sizes of a repository's packs: as its index says, when that was loaded; else they are listed."""
    if len(repository.index):
        return [size for _, size in repository.index.sizes()]
    return [size for _, size in repository.store.list(Kind.PACK)]


def nearest_first(copies: Collection[KnownStore]) -> list[KnownStore]:
    """Return copies in the order in which a recovery asks them: directories of this machine, then buckets."""
    return sorted(copies, key=lambda store: is_s3(store.settings.location))  # stable: else as they are configured


def stands_apart(one: str, other: str) -> bool | None:
    """Whether two stores lie on different disks or servers; None when that cannot be seen."""
    if is_s3(one) != is_s3(other):
        return True
    if is_s3(one):
        return _host(one) != _host(other)
    try:
        return _device(one) != _device(other)
    except OSError:
        return None


def _host(location: str) -> str:
    return urlsplit(parse_s3(location).endpoint).hostname or ""


def _device(location: str) -> int:
    folder = directory_of(location)
    assert folder is not None
    return folder.stat().st_dev


def described(settings: RepositorySettings) -> str:
    """Return where a store's secrets are kept, for people; never the secrets."""
    place = settings.password("store")
    keys = settings.access_key_file or (f"profile {settings.profile}" if settings.profile else "")
    return ", ".join(filter(None, (str(place), keys)))
