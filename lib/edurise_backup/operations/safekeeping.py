"""What `doctor` says of secrets: who else may read them, and who may start things at the Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from ipaddress import ip_address
from urllib.parse import urlsplit

from edurise_backup.config import Settings
from edurise_backup.errors import ConfigError
from edurise_backup.machine.listening import listeners
from edurise_backup.model.audit import Outcome
from edurise_backup.model.database import Secret
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.findings import Finding, Level
from edurise_backup.operations.secrets import authorization, prefect_credential

DRILL = "key.drill"
"""The audit trail's word for a recovery key that was tried."""
DRILL_EVERY = timedelta(days=90)
_SECONDS = 3.0
_PAGE = "docs/operations/keys-and-secrets.md"


def secrets_in_sight(settings: Settings) -> Iterator[Finding]:
    """Say which secrets stand in the configuration itself."""
    for source in settings.databases:
        for url, key in ((source.url, "password_file"), (source.recovery.url, "recovery.password_file")):
            if urlsplit(url).password:
                yield Finding(
                    Level.WARNING,
                    "secrets",
                    f"the configuration holds the password of the database source {source.name}",
                    f"move it into a file and name that as {key}: {_PAGE}",
                )


def drills(settings: Settings) -> Iterator[Finding]:
    """Look when the recovery key was last proved; raises UnreachableError."""
    with open_catalog(settings) as catalog:
        yield from drill_findings(catalog, catalog.clock())


def drill_findings(catalog: Catalog, now: datetime) -> Iterator[Finding]:
    """Say when it was last proved that the printed recovery key opens the repository."""
    last = catalog.audit.last(DRILL, outcome=Outcome.DONE)
    remedy = "fetch the printed key and run `edurise-backup key recovery-drill`"
    if last is None:
        yield Finding(Level.WARNING, "recovery key", "it was never proved that it opens the repository", remedy)
    elif (age := now - last.at) > DRILL_EVERY:
        yield Finding(Level.WARNING, "recovery key", f"it was last proved {age.days} days ago", remedy)
    else:
        yield Finding(Level.FINE, "recovery key", f"it opened the repository {age.days} days ago")


def prefect_findings(settings: Settings) -> Iterator[Finding]:
    """Say whether the Prefect server asks who calls: whoever may start runs there runs code on this machine."""
    url = settings.prefect_api_url.rstrip("/")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ConfigError(f"prefect.api_url is no address: {url}", hint="write it as http://127.0.0.1:4200/api")
    answer = _answer(url, None)
    if answer is None:
        told = f"Prefect at {url} does not answer: schedules and the dashboard's buttons do nothing"
        yield Finding(Level.WARNING, "prefect", told, "start it with `make up`; the command line needs none of it")
        return
    exposed = _exposed(parts.hostname, parts.port or (443 if parts.scheme == "https" else 80))
    if answer != 401:
        where = f", and listens on {', '.join(exposed)}" if exposed else ""
        yield Finding(
            Level.FAULT,
            "prefect",
            f"Prefect at {url} takes runs from anybody who reaches it{where}: that is code run as its worker's user",
            f"start it by `make up`, or set PREFECT_SERVER_API_AUTH_STRING for it: {_PAGE}",
        )
        return
    yield from _credential_findings(settings, url)
    if exposed and parts.scheme == "http":
        told = f"Prefect listens on {', '.join(exposed)} without TLS: its credential can be read on the way"
        yield Finding(Level.WARNING, "prefect", told, "bind it to 127.0.0.1, or put a proxy with TLS before it")


def _credential_findings(settings: Settings, url: str) -> Iterator[Finding]:
    credential = prefect_credential(settings)
    if credential is None:
        told = f"Prefect at {url} asks for a credential, and none is configured: nothing can be started there"
        yield Finding(Level.WARNING, "prefect", told, f"set auth_file in [prefect]: {_PAGE}")
    elif _answer(url, credential) == 401:
        told = f"Prefect at {url} refuses our credential: nothing can be started there"
        yield Finding(Level.WARNING, "prefect", told, "see whose server it is; restart it after the credential changed")
    else:
        yield Finding(Level.FINE, "prefect", f"{url} answers, and only to those with its credential")


def _exposed(host: str, port: int) -> list[str]:
    """Return the addresses beyond this machine's own on which the server listens; empty for a loopback server."""
    if host != "localhost":
        try:
            local = ip_address(host).is_loopback
        except ValueError:
            local = False
        if not local:
            return [host]
    return [str(address) for address in listeners(port) if not address.is_loopback]


def _answer(url: str, credential: Secret | None) -> int | None:
    """Return the HTTP status of a call that tells nothing and changes nothing; None without an answer."""
    import httpx

    headers = {"Authorization": authorization(credential)} if credential else {}
    try:
        return httpx.get(f"{url}/admin/version", headers=headers, timeout=_SECONDS, trust_env=False).status_code
    except httpx.HTTPError:
        return None
