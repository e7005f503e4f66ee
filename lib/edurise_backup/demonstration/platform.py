"""An EduRise platform in a folder: START HERE.

`create_platform` makes a real one (a PostgreSQL cluster, file storage,
configuration) that follows from its seed and scale in every row and byte. It
is changed and destroyed by the demonstration, and judged by `comparison`.
"""

from __future__ import annotations

import os
import secrets as system_secrets
import shutil
from pathlib import Path

import msgspec

from edurise_backup.demonstration.changes import change_platform
from edurise_backup.demonstration.configuration import fill_configuration, make_secrets
from edurise_backup.demonstration.consistency import find_inconsistencies
from edurise_backup.demonstration.database import DATABASES, create_databases, drop_databases
from edurise_backup.demonstration.export import fill_export
from edurise_backup.demonstration.population import people, sizes
from edurise_backup.demonstration.storage import fill_buckets
from edurise_backup.demonstration.tree import Tree, directories_below
from edurise_backup.errors import ConfigError, ConflictError, InputError, NotFoundError
from edurise_backup.model.database import Secret
from edurise_backup.ports import Progress
from edurise_backup.postgres.connection import Address
from edurise_backup.postgres.server import Server
from edurise_backup.postgres.tools import find_server

SUPERUSER = "edurise_admin"
_DESCRIPTION = "platform.json"
_FORMAT = 1
_LARGEST_SCALE = 1000


class _Description(msgspec.Struct, frozen=True):
    """What platform.json holds; paths are relative to its folder, secrets are not in it."""

    format: int
    seed: int
    scale: float
    changes: list[int]
    databases: list[str]
    superuser: str
    password_file: str
    cluster: str
    storage: str
    configuration: str
    warnings: list[str]


class Platform:
    """A platform on disk; its server runs between `start` and `stop`, also beyond the end of this process."""

    def __init__(self, directory: Path, description: _Description, server: Server) -> None:
        self.directory = directory
        self._description = description
        self._server = server

    @classmethod
    def open(cls, directory: Path) -> Platform:
        """Return the platform that `create_platform` made in the directory; raises NotFoundError, ConfigError."""
        directory = directory.absolute()
        try:
            text = (directory / _DESCRIPTION).read_bytes()
        except OSError as error:
            raise NotFoundError(
                f"there is no platform in {directory}", hint="make one with `edurise-backup demo-platform`"
            ) from error
        try:
            description = msgspec.json.decode(text, type=_Description)
        except msgspec.DecodeError as error:
            raise ConfigError(f"{directory / _DESCRIPTION} is not readable: {error}") from error
        if description.format != _FORMAT:
            raise ConfigError(f"{directory / _DESCRIPTION} has the format {description.format}, known is {_FORMAT}")
        try:
            password = Secret((directory / description.password_file).read_text("ascii").strip())
        except OSError as error:
            raise ConfigError(f"the platform's password file cannot be read: {error.strerror}") from error
        return cls(directory, description, _server(directory / description.cluster, password))

    @property
    def seed(self) -> int:
        """What everything in the platform follows from."""
        return self._description.seed

    @property
    def scale(self) -> float:
        """Its size: 1 is near 150 MB and 1,500 files."""
        return self._description.scale

    @property
    def warnings(self) -> list[str]:
        """What the file system refused when the platform was made, a sentence each."""
        return self._description.warnings

    @property
    def changes(self) -> list[int]:
        """The seeds of the changes made so far."""
        return self._description.changes

    @property
    def databases(self) -> tuple[str, ...]:
        """The names of its databases."""
        return tuple(self._description.databases)

    @property
    def storage(self) -> Path:
        """The root of its file storage."""
        return self.directory / self._description.storage

    @property
    def configuration(self) -> Path:
        """The folder of its configuration files."""
        return self.directory / self._description.configuration

    @property
    def password_file(self) -> Path:
        """The file with the superuser's password, readable by its owner only."""
        return self.directory / self._description.password_file

    @property
    def address(self) -> Address:
        """The running server's address, as its superuser; raises ToolError when it does not run."""
        return self._server.address

    def start(self) -> Address:
        """Start the platform's server, or find it running, and return its address."""
        return self._server.start()

    def stop(self) -> None:
        """Stop the platform's server; not running is no error."""
        self._server.stop()

    def change(self, seed: int) -> None:
        """Let a day pass: rows and files are added, edited and removed, and still agree with each other.

        The same changes of equal platforms give equal platforms. The server
        must run. Raises InputError for a change that was made already.
        """
        if seed in self.changes:
            raise InputError(f"the change {seed} was made already", hint="take another seed")
        tree = Tree(self.storage, seed)
        change_platform(self.address, tree, seed, scale=self.scale)
        self._save(changes=[*self.changes, seed])

    def inconsistencies(self) -> list[str]:
        """Return where `storage.objects` and the files disagree, a sentence each."""
        return find_inconsistencies(self.address, self.storage)

    def destroy(self) -> None:
        """Lose everything that a backup is for: databases, roles, files, configuration. The empty server stays.

        Cannot be undone; the folder, platform.json and the password stay, so
        that the same server can receive what is restored.
        """
        drop_databases(self.address)
        for folder in (self.storage, self.configuration):
            remove_tree(folder)

    def _save(self, *, changes: list[int]) -> None:
        self._description = msgspec.structs.replace(self._description, changes=changes)
        _write_description(self.directory, self._description)


def create_platform(
    directory: Path, *, seed: int = 1, scale: float = 1.0, progress: Progress | None = None
) -> Platform:
    """Make a platform in a directory that does not exist or is empty, and leave its server running.

    Raises ConflictError when something is there, InputError for an impossible
    scale or place. When it fails, the directory is left empty.
    """
    directory = directory.absolute()
    if not 0 < scale <= _LARGEST_SCALE:
        raise InputError(f"the scale must be above 0 and at most {_LARGEST_SCALE}, not {scale}")
    _make_empty(directory)
    password = Secret(system_secrets.token_urlsafe(24))
    server = _server(directory / "cluster", password)
    try:
        return _fill(directory, server, password, seed=seed, scale=scale, progress=progress)
    except BaseException:
        server.stop()
        for name in directory.iterdir():
            remove_tree(name)
        raise


def _make_empty(directory: Path) -> None:
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise ConflictError(f"{directory} is not an empty directory", hint="choose another, or remove it first")
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{directory} cannot be made: {error.strerror}", hint="choose another directory") from error


def _fill(
    directory: Path, server: Server, password: Secret, *, seed: int, scale: float, progress: Progress | None
) -> Platform:
    _write_private(directory / "password", f"{password.reveal()}\n".encode("ascii"))
    _phase(progress, "start the platform's server")
    server.initialise()
    address = server.start()
    amount, secrets = sizes(scale), make_secrets(seed)
    folk = people(seed, amount)
    _phase(progress, "write the platform's files")
    tree = Tree(directory / "storage", seed)
    objects = fill_buckets(
        tree, amount, folk, wrote=lambda size: progress.advance(bytes_done=size, files_done=1) if progress else None
    )
    fill_export(tree)
    tree.settle(directories_below(tree.root))
    fill_configuration(Tree(directory / "configuration", seed), secrets)
    _phase(progress, "fill the platform's databases")
    create_databases(address, seed=seed, amount=amount, folk=folk, secrets=secrets, objects=objects, progress=progress)
    description = _Description(
        format=_FORMAT,
        seed=seed,
        scale=scale,
        changes=[],
        databases=list(DATABASES),
        superuser=SUPERUSER,
        password_file="password",  # noqa: S106 - the name of a file
        cluster="cluster",
        storage="storage",
        configuration="configuration",
        warnings=tree.warnings,
    )
    _write_description(directory, description)  # last: a folder without it is no platform
    return Platform(directory, description, server)


def remove_tree(path: Path) -> None:
    """Remove a file, link or directory with all that is in it, also where directories are read-only."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    for folder, _, _ in os.walk(path):
        if not os.access(folder, os.W_OK | os.X_OK):
            Path(folder).chmod(0o700)
    shutil.rmtree(path)


def _server(cluster: Path, password: Secret) -> Server:
    return Server(cluster, binaries=find_server(), password=password, user=SUPERUSER, settings=_SETTINGS)


_SETTINGS = {"wal_level": "replica", "max_wal_size": "1GB", "maintenance_work_mem": "128MB"}


def _phase(progress: Progress | None, name: str) -> None:
    if progress:
        progress.raise_if_cancelled()
        progress.phase(name)


def _write_description(directory: Path, description: _Description) -> None:
    text = msgspec.json.format(msgspec.json.encode(description), indent=2)
    unfinished = directory / f".{_DESCRIPTION}.unfinished"
    unfinished.write_bytes(text + b"\n")
    unfinished.replace(directory / _DESCRIPTION)


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(content)
