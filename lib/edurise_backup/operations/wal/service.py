"""The service that receives the logs of all configured clusters, one thread for each."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Sequence

from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, ConfigError, NotFoundError
from edurise_backup.model.settings import ClusterSettings
from edurise_backup.operations.catalogs import Catalog, open_catalog
from edurise_backup.operations.wal.receiving import Reception

_log = logging.getLogger(__name__)
_STEP = 1.0
_AGAIN = 10.0
"""Seconds between two tries to begin: until then the server keeps what was not received."""

Say = Callable[[str], None]


def received_here(settings: Settings) -> list[ClusterSettings]:
    """Return the clusters whose log this host receives."""
    return [one for one in settings.clusters if one.wal.method != "off" and one.host in ("", settings.host)]


def chosen_clusters(settings: Settings, names: Sequence[str] = ()) -> list[ClusterSettings]:
    """Return those of these names, or all; raises ConfigError, NotFoundError."""
    mine = received_here(settings)
    unknown = [name for name in names if name not in {one.name for one in mine}]
    if unknown:
        raise NotFoundError(
            f"no log of a cluster named {', '.join(unknown)} is received here",
            hint=f"configured are {', '.join(one.name for one in mine) or 'none'}",
        )
    if not mine:
        raise ConfigError(
            "no cluster is configured whose log is received here",
            safe="nothing was done",
            hint="name one: [[cluster]] in the configuration (docs/operations/point-in-time.md)",
        )
    return [one for one in mine if not names or one.name in names]


def receive(settings: Settings, names: Sequence[str], stop: threading.Event, *, say: Say) -> None:
    """Receive until `stop` is set; `say` hears of what a log should say. Raises ConfigError, NotFoundError."""
    clusters = chosen_clusters(settings, names)
    with open_catalog(settings) as catalog:
        threads = [
            threading.Thread(target=_keep, args=(settings, cluster, catalog, stop, say), name=f"wal {cluster.name}")
            for cluster in clusters
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def ship_once(settings: Settings, names: Sequence[str] = ()) -> dict[str, int]:
    """Ship what waits in the spools now, and return how many files that were; raises what keeps it from that."""
    done = {}
    with open_catalog(settings) as catalog:
        for cluster in chosen_clusters(settings, names):
            reception = Reception(settings, cluster, catalog)
            try:
                done[cluster.name] = 0
                while (shipped := reception.flush()) is not None:
                    done[cluster.name] += len(shipped.files)
            finally:
                reception.close()
    return done


def _keep(settings: Settings, cluster: ClusterSettings, catalog: Catalog, stop: threading.Event, say: Say) -> None:
    reception: Reception | None = None
    said = ""
    try:
        while not stop.is_set():
            if reception is None:
                try:
                    reception = Reception(settings, cluster, catalog)
                    say(f"{cluster.name}: the log of cluster {reception.status.system_identifier} is received")
                except BackupError as error:
                    said = _once(say, said, f"{cluster.name}: {' '.join(error.lines())}")
                    stop.wait(_AGAIN)
                    continue
            shipped = reception.step()
            trouble = reception.status.trouble
            said = _once(say, said, f"{cluster.name}: {trouble}" if trouble else "")
            if not (shipped and shipped.more):
                stop.wait(_STEP)
    except Exception:
        _log.exception("the reception of %s ended", cluster.name)
        stop.set()  # whoever supervises the service starts it again
        raise
    finally:
        if reception is not None:
            reception.close()


def _once(say: Say, said: str, text: str) -> str:
    """Say a text unless it was the last one."""
    if text and text != said:
        say(text)
    return text
