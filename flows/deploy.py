"""Have a work pool's workers run the flows, on several machines: `python -m flows.deploy --pool NAME`.

Makes the pool when it is missing and registers every deployment for it. A run
is started from the release that is installed on the worker's host, with that
host's configuration: nothing is fetched, and no setting or secret is in the
pool's job template. May be repeated; after an upgrade it must be.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, ConflictError
from edurise_backup.operations.secrets import prefect_credential
from edurise_backup.operations.workers import refuse_one_machine
from flows.credentials import for_client
from flows.local import DEPLOYMENT_NAMES
from flows.prefect_api import PrefectApi
from flows.telling import tell

POOL = "edurise"
_TYPE = "process"
_PAGE = "docs/operations/several-machines.md"


def main(arguments: Sequence[str]) -> int:
    """Register the deployments; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m flows.deploy", description="Let a work pool run the flows.")
    parser.add_argument("--pool", default=POOL, help=f"the pool's name ({POOL})")
    parser.add_argument("--move", action="store_true", help="also when they belong to another pool now")
    asked = parser.parse_args(arguments)
    try:
        settings = load_settings()
        refuse_one_machine(settings)
        with PrefectApi(settings.prefect_api_url, prefect_credential(settings)) as api:
            refuse_taken(api, asked.pool, move=asked.move)
            refuse_unfit(api, asked.pool)
        register(settings, asked.pool)
    except BackupError as error:
        return tell(error)
    print(f"{len(DEPLOYMENT_NAMES)} deployments are registered for the pool {asked.pool}")  # noqa: T201
    print(f"start a worker on each host: python -m flows.worker --pool {asked.pool}")  # noqa: T201
    return 0


def refuse_taken(api: PrefectApi, pool: str, *, move: bool = False) -> None:
    """Raise ConflictError when somebody else runs the deployments: a runner of one machine, or another pool."""
    for name in DEPLOYMENT_NAMES:
        there = api.deployment(name)
        if there is None or there.pool == pool:
            continue
        if not there.pool and there.polled:
            raise ConflictError(
                f"{name} is served on one machine, by `make up` or `python -m flows.serve`, or was a moment ago: "
                "with a pool beside it, two would take the same runs",
                safe="nothing was changed",
                hint=f"stop that; a minute later, register them for the pool ({_PAGE})",
            )
        if there.pool and not move:
            raise ConflictError(
                f"{name} belongs to the work pool {there.pool}",
                safe="nothing was changed",
                hint="name that pool; or stop its workers, and give --move",
            )


def refuse_pool(api: PrefectApi) -> None:
    """Raise ConflictError when the deployments belong to a work pool: one machine must not serve them beside it."""
    for name in DEPLOYMENT_NAMES:
        there = api.deployment(name)
        if there is not None and there.pool:
            raise ConflictError(
                f"the deployments of the Prefect server at {api.url} belong to the work pool {there.pool}: "
                "served from here as well, each run would be taken twice",
                safe="nothing was started; the pool's workers go on",
                hint=f"start a worker instead: python -m flows.worker --pool {there.pool}; to go back to one machine, "
                f"delete the pool first ({_PAGE})",
            )


def refuse_unfit(api: PrefectApi, pool: str) -> None:
    """Raise ConflictError for a pool whose workers are of another type, or whose template brings settings along."""
    kind = api.pool_type(pool)
    if kind is None:
        return
    if kind != _TYPE:
        raise ConflictError(
            f"the work pool {pool} is of the type {kind}",
            safe="nothing was changed",
            hint=f"name a pool of the type {_TYPE}, or a new one",
        )
    if brought := brought_along(api.pool_template(pool)):
        raise ConflictError(
            f"the job template of the work pool {pool} sets {', '.join(brought)}: whoever may read the pool reads it, "
            "and every host would get the same",
            safe="nothing was changed",
            hint="take it out of the template; each host has its own configuration file and secrets",
        )


def brought_along(template: Mapping[str, Any]) -> list[str]:
    """Return what a job template sets that must be each host's own; pure."""
    found = [f"the {name}" for name in ("command", "working_dir") if _default(template, name)]
    environment = _default(template, "env")
    found += sorted(environment) if isinstance(environment, Mapping) else []
    fixed = template.get("job_configuration", {}).get("env")
    return found + (sorted(fixed) if isinstance(fixed, Mapping) else [])


def _default(template: Mapping[str, Any], name: str) -> Any:
    return template.get("variables", {}).get("properties", {}).get(name, {}).get("default")


def register(settings: Settings, pool: str) -> None:
    """Make the pool and register the deployments, by Prefect's own client."""
    os.environ.update(for_client({"PREFECT_API_URL": settings.prefect_api_url}, prefect_credential(settings)))
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.exceptions import ObjectAlreadyExists
    from prefect.workers.process import ProcessWorker

    from flows.deployments import DEPLOYMENTS, registered

    template = ProcessWorker.get_default_base_job_template()
    with get_client(sync_client=True) as client, suppress(ObjectAlreadyExists):  # it was looked at before
        client.create_work_pool(WorkPoolCreate(name=pool, type=_TYPE, base_job_template=template))
    for deployment in DEPLOYMENTS:
        registered(deployment, pool=pool).apply()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
