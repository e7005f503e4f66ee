"""The one list of deployments; `flows.serve`, `flows.deploy` and `prefect.yaml` follow it.

Parameters are stored by the Prefect server and shown to whoever may read it:
ids and names only, never a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, cast

from prefect import Flow
from prefect.deployments.runner import RunnerDeployment
from prefect.types.entrypoint import EntrypointType

from flows.anchor import anchor
from flows.backup import backup
from flows.check import check
from flows.copies import copy
from flows.prune import prune
from flows.recover import recover
from flows.recover_to import recover_to
from flows.report import report
from flows.retain import retain
from flows.scheduled import scheduled
from flows.stores import store
from flows.verify import verify

NAME = "edurise"
"""Every deployment's own name; Prefect addresses it as `FLOW/edurise`."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """A flow as it can be started from outside."""

    flow: Flow[..., Any]
    entrypoint: str
    """Module path of the flow, so that the folder from which it is started does not matter."""
    description: str
    tags: tuple[str, ...]
    parameters: Mapping[str, str | bool] = field(default_factory=lambda: MappingProxyType({}))
    """What a run gets that names nothing else."""

    @property
    def full_name(self) -> str:
        """The name under which Prefect's API finds it."""
        return f"{self.flow.name}/{NAME}"


DEPLOYMENTS: tuple[Deployment, ...] = (
    Deployment(
        flow=backup,
        entrypoint="flows.backup.backup",
        description="Back up the platform, or one part of it.",
        tags=("edurise", "backup"),
        parameters=MappingProxyType({"type": "full", "incremental": True}),
    ),
    Deployment(
        flow=verify,
        entrypoint="flows.verify.verify",
        description="Read a backup's bytes back from the repository and prove them.",
        tags=("edurise", "verify"),
    ),
    Deployment(
        flow=recover,
        entrypoint="flows.recover.recover",
        description="Bring a backup back into fresh databases and a fresh directory, and prove it.",
        tags=("edurise", "recover"),
        parameters=MappingProxyType({"database_suffix": "_restored"}),
    ),
    Deployment(
        flow=recover_to,
        entrypoint="flows.recover_to.recover_to",
        description="Bring a cluster back into a fresh directory as it was at a moment, and prove it.",
        tags=("edurise", "recover"),
        parameters=MappingProxyType({"moment": "latest"}),
    ),
    Deployment(
        flow=check,
        entrypoint="flows.check.check",
        description="Check the repository, and prove the bytes that were never or longest ago proved.",
        tags=("edurise", "check"),
        parameters=MappingProxyType({"budget": "5%"}),
    ),
    Deployment(
        flow=prune,
        entrypoint="flows.prune.prune",
        description="Remove what no backup refers to from the repository.",
        tags=("edurise", "prune"),
        parameters=MappingProxyType({"wait": "1h"}),
    ),
    Deployment(
        flow=scheduled,
        entrypoint="flows.scheduled.scheduled",
        description="Run what a schedule says, when its time has come; its schedules are rows of backup_schedules.",
        tags=("edurise", "scheduled"),
    ),
    Deployment(
        flow=retain,
        entrypoint="flows.retain.retain",
        description="Forget the backups that no schedule's retention, pin or hold keeps.",
        tags=("edurise", "retain"),
        parameters=MappingProxyType({"grace": "7d"}),
    ),
    Deployment(
        flow=report,
        entrypoint="flows.report.report",
        description="Make a report of a period, last month's unless it is named.",
        tags=("edurise", "report"),
        parameters=MappingProxyType({"period": "", "source": ""}),
    ),
    Deployment(
        flow=anchor,
        entrypoint="flows.anchor.anchor",
        description="Prove the audit trail and seal its newest row into the repository.",
        tags=("edurise", "audit"),
    ),
    Deployment(
        flow=copy,
        entrypoint="flows.copies.copy",
        description="Bring the restore points that are new into the copies elsewhere.",
        tags=("edurise", "copy"),
        parameters=MappingProxyType({"store": ""}),
    ),
    Deployment(
        flow=store,
        entrypoint="flows.stores.store",
        description="Register a further copy, or probe a store.",
        tags=("edurise", "store"),
    ),
)


def registered(deployment: Deployment, *, pool: str | None = None) -> RunnerDeployment:
    """Return the deployment as Prefect's `serve` takes it; or, with a work pool, as it is registered there."""
    made = deployment.flow.to_deployment(
        name=NAME,
        description=deployment.description,
        tags=list(deployment.tags),
        parameters=dict(deployment.parameters),
        entrypoint_type=EntrypointType.MODULE_PATH,
        work_pool_name=pool,
    )
    return cast(RunnerDeployment, made)  # outside of an event loop it is never a coroutine
