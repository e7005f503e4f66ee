"""Options that every command has, and the one place where errors become exit statuses.

A command is a function whose first argument is what its common options say
(`Engine` or `Product`); `command` adds those options to its signature, so that
each `--help` lists them.
"""

from __future__ import annotations

import inspect
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Protocol

import typer

from edurise_backup.cli.output import Output
from edurise_backup.errors import BackupError, InputError

if TYPE_CHECKING:
    from edurise_backup.config import Settings
    from edurise_backup.model.location import S3Access
    from edurise_backup.repository.repository import Repository

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print nothing but errors.")]
Profile = Annotated[bool, typer.Option("--profile", help="Say on standard error where the time went.")]


class Common(Protocol):
    """What a command's common options say."""

    output: Output
    profile: bool

    def begin(self) -> None:
        """Start what takes time and every command needs, while the command's own modules are loaded."""


class _Opening:
    """A repository that is being opened beside other work."""

    def __init__(self) -> None:
        self._thread: threading.Thread | None = None
        self._repository: Repository | None = None
        self._error: BackupError | None = None

    def start(self, open_it: Callable[[], Repository]) -> None:
        """Begin to open."""

        def run() -> None:
            try:
                self._repository = open_it()
            except BackupError as error:
                self._error = error

        self._thread = threading.Thread(target=run, name="open", daemon=True)
        self._thread.start()

    def result(self) -> Repository | None:
        """Wait for the repository, and return it or raise why it cannot be opened; None when nothing was begun."""
        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        return self._repository


@dataclass(frozen=True, slots=True)
class Engine:
    """A repository named on the command line or in the environment; no catalog, no Prefect."""

    output: Output
    location: str
    password_file: Path | None
    password_command: str = ""
    limit_upload: int = 0
    limit_download: int = 0
    profile: bool = False
    _opening: _Opening = field(default_factory=_Opening)

    @classmethod
    def from_options(
        cls,
        repository: Annotated[
            str,
            typer.Option(
                "--repository",
                "-r",
                envvar="EDURISE_REPOSITORY",
                help="Where the repository is: a directory, or s3:https://HOST/BUCKET/FOLDER.",
            ),
        ] = "",
        password_file: Annotated[
            Path | None,
            typer.Option("--password-file", "-p", envvar="EDURISE_PASSWORD_FILE", help="File with its passphrase."),
        ] = None,
        password_command: Annotated[
            str,
            typer.Option(envvar="EDURISE_PASSWORD_COMMAND", help="Command that prints its passphrase; no shell."),
        ] = "",
        limit_upload: Annotated[
            int, typer.Option(min=0, metavar="KIB", help="Write at most so many KiB a second; 0: no limit.")
        ] = 0,
        limit_download: Annotated[
            int, typer.Option(min=0, metavar="KIB", help="Read at most so many KiB a second; 0: no limit.")
        ] = 0,
        json: Json = False,
        quiet: Quiet = False,
        profile: Profile = False,
    ) -> Engine:
        """Take the options of every engine command."""
        return cls(
            Output(json, quiet), repository, password_file, password_command, limit_upload, limit_download, profile
        )

    def begin(self) -> None:
        """Open the repository: deriving its key takes a third of a second, and no lock of Python's."""
        if self.location and (self.password_file is not None or self.password_command):
            self._opening.start(lambda: self.other_repository(self.place(), self.passphrase()))

    def repository(self) -> Repository:
        """Open the repository; raises InputError when it or its passphrase is not named."""
        return self._opening.result() or self.other_repository(self.place(), self.passphrase())

    def other_repository(self, location: str, passphrase: str, access: S3Access | None = None) -> Repository:
        """Open another repository, under the same limits; raises InputError."""
        from edurise_backup.operations.opening import Limits, open_repository

        limits = Limits(self.limit_upload * 1024, self.limit_download * 1024, self.output.raise_if_cancelled)
        return open_repository(location, passphrase, limits, access=access)

    def place(self) -> str:
        """Return the repository's location."""
        if not self.location:
            raise InputError("no repository is named", hint="use --repository DIR or set EDURISE_REPOSITORY")
        return self.location

    def passphrase(self) -> str:
        """Read the passphrase from its file, or from what its command prints."""
        from edurise_backup.model.secrets import SecretPlace, split_command
        from edurise_backup.operations.secrets import read_secret

        if self.password_file is not None and self.password_command:
            raise InputError(
                "a password file and a password command are given",
                safe="nothing was done",
                hint="use one of the two; EDURISE_PASSWORD_FILE and EDURISE_PASSWORD_COMMAND count, too",
            )
        if self.password_file is None and not self.password_command:
            raise InputError("no password file is named", hint="use --password-file FILE or set EDURISE_PASSWORD_FILE")
        command = split_command(self.password_command, "--password-command")
        return read_secret(
            SecretPlace("the repository's passphrase", str(self.password_file or ""), "", command)
        ).reveal()


@dataclass(frozen=True, slots=True)
class Product:
    """The configured product: sources, repository, catalog."""

    output: Output
    config: Path | None
    profile: bool = False
    log_json: bool = False

    @classmethod
    def from_options(
        cls,
        config: Annotated[
            Path | None,
            typer.Option("--config", "-c", envvar="EDURISE_CONFIG", help="Configuration (edurise-backup.toml)."),
        ] = None,
        json: Json = False,
        quiet: Quiet = False,
        profile: Profile = False,
        log_json: Annotated[
            bool,
            typer.Option(
                "--log-json", envvar="EDURISE_LOG_JSON", help="Log events to standard error, a JSON object each."
            ),
        ] = False,
    ) -> Product:
        """Take the options of every product command."""
        return cls(Output(json, quiet), config, profile, log_json)

    def begin(self) -> None:
        """Have events written down before the first one happens."""
        if self.log_json:
            from edurise_backup.monitoring import logs

            logs.log_json()

    def settings(self) -> Settings:
        """Read the configuration; raises ConfigError."""
        from edurise_backup.config import load_settings
        from edurise_backup.monitoring.redaction import protect_logs

        protect_logs()
        return load_settings(self.config)


def command(
    app: typer.Typer, common: type[Engine] | type[Product], name: str | None = None, *, opens: bool = True
) -> Callable[[Callable[..., int | None]], Callable[..., None]]:
    """Register a command: common options become its first argument, errors its exit status.

    `opens`: an engine command needs the repository, which is then opened at once.
    """

    def register(function: Callable[..., int | None]) -> Callable[..., None]:
        own = list(inspect.signature(function, eval_str=True).parameters.values())[1:]
        shared = list(inspect.signature(common.from_options, eval_str=True).parameters.values())

        def run(**values: object) -> None:
            given = {parameter.name: values.pop(parameter.name) for parameter in shared}
            first = common.from_options(**given)  # type: ignore[arg-type]  # typer has converted them

            def work() -> int | None:
                if opens:
                    first.begin()
                return function(first, **values)

            raise typer.Exit(_status(first.output, lambda: _profiled(first.output, work) if first.profile else work()))

        parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *shared)]
        run.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
        run.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
        run.__doc__ = function.__doc__
        app.command(name or function.__name__.replace("_", "-"))(run)
        return run

    return register


def _status(output: Output, work: Callable[[], int | None]) -> int:
    try:
        return work() or 0
    except BackupError as error:
        output.error(error)
        return error.exit_status


def _profiled(output: Output, work: Callable[[], int | None]) -> int | None:
    from edurise_backup.machine.sampling import Sampler

    began = time.monotonic()
    sampler = Sampler()
    try:
        with sampler:
            return work()
    finally:
        output.spent(sampler.spent(), time.monotonic() - began)
