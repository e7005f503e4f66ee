"""Every error that the library raises on purpose; the class says what the caller should do.

An error tells three things: what happened, what is still safe, what to do next.
`exit_status` is what the command line ends with: 2 for bad input (nothing was
changed), 1 for a failure, 130 for a cancelled run.
"""

from __future__ import annotations


class BackupError(Exception):
    """Something went wrong; `safe` says what is unharmed, `hint` what to do."""

    exit_status = 1

    def __init__(self, message: str, *, safe: str = "", hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.safe = safe
        self.hint = hint

    def lines(self) -> list[str]:
        """Return the error as it is shown to a person, a line per part."""
        parts = [self.message]
        if self.safe:
            parts.append(f"Safe: {self.safe}")
        if self.hint:
            parts.append(f"To do: {self.hint}")
        return parts


class InputError(BackupError):
    """What was asked for cannot be done as asked; nothing was changed. A person must ask differently."""

    exit_status = 2


class ConfigError(InputError):
    """A person must change a setting; the message names the key and, for a file, the line."""


class NotFoundError(InputError):
    """What was named does not exist."""


class AmbiguousError(InputError):
    """A short id names more than one thing."""


class ConflictError(InputError):
    """The target is in use: a repository, a directory that is not empty, a database that exists."""


class WrongPassphraseError(InputError):
    """No key of the repository opens with this passphrase."""


class NotARepositoryError(InputError):
    """There is no repository at the given place."""


class UnsupportedVersionError(InputError):
    """A repository, server or tool is of a version that this release does not know."""


class UnreachableError(InputError):
    """A database or store does not answer, or refuses the credentials."""


class ForbiddenError(InputError):
    """Whoever asked may not do this, or not alone; the hint says who may."""


class AwaitingApprovalError(ForbiddenError):
    """Another person must agree first: a request was made, and nothing is wrong."""


class LockedError(InputError):
    """Somebody else holds the repository; the message says who, and since when."""


class UnderWayError(ConflictError):
    """Another job does the same now: nothing is wrong, and this one was not started."""


class SpaceError(BackupError):
    """A disk is full, or would be: checked before the work where that is possible."""

    exit_status = 2


class TransientError(BackupError):
    """The same call may succeed later."""


class ThrottledError(TransientError):
    """A store asks to be asked less often: everybody who uses it slows down."""


class DamageError(BackupError):
    """Stored bytes are missing or are not the bytes that were written."""


class SourceError(BackupError):
    """What is to be protected could not be read whole."""


class VanishedError(SourceError):
    """What was to be read is not there any more."""


class ToolError(BackupError):
    """An external program (`pg_dump`, a hook) failed; the message carries its last words."""


class ProofError(BackupError):
    """What was restored is not what was backed up."""


class CancelledError(BackupError):
    """A person stopped the work; what was published before stays whole."""

    exit_status = 130
