"""Who gets the credential of Prefect's API, and how: through the environment of the one process that needs it.

The supervisor and the dashboard have it in no environment: what talks to the API
from our own code reads it where it is kept (`operations.secrets.prefect_credential`).
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edurise_backup.config import load_settings
from edurise_backup.model.database import Secret
from edurise_backup.operations.secrets import (
    PREFECT_AUTH,
    credential_path,
    kept_secret,
    known,
    make_prefect_credential,
)

SERVER_AUTH = "PREFECT_SERVER_API_AUTH_STRING"


class LocalApi(str):
    """The address of a local server's API that has its credential with it; shown, it is the address alone."""

    auth: Secret

    __slots__ = ("auth",)


def local_api(url: str, auth: Secret) -> LocalApi:
    """Return the address with its credential."""
    address = LocalApi(url)
    address.auth = auth
    return address


def for_server(environment: Mapping[str, str], credential: Secret) -> dict[str, str]:
    """Return the environment of a Prefect server that asks for the credential."""
    return {**environment, SERVER_AUTH: credential.reveal()}


def for_client(environment: Mapping[str, str], credential: Secret | None) -> dict[str, str]:
    """Return the environment of a process that runs Prefect's own client; without a credential as it is."""
    return dict(environment) if credential is None else {**environment, PREFECT_AUTH: credential.reveal()}


def local_credential(home: Path, settings_path: Path | None) -> Secret:
    """Return the credential of a server with its state in `home`: that of the settings, or beside its state.

    A settings file that is not written yet will have its data there, too.
    """
    if settings_path is not None and settings_path.exists():
        return make_prefect_credential(load_settings(settings_path, {}))
    return known(kept_secret(credential_path(home.absolute().parent), prefix="edurise:"))
