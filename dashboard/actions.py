"""The door to Prefect: everything that a person can start from a page goes through here.

A job row is queued first, and its id is the run's idempotency key: however
often a click or a request arrives, there is one run. When Prefect cannot take
the run, the row is withdrawn, and the error says so.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import httpx
import tenacity

from edurise_backup import operations
from edurise_backup.catalog.audit import AuditTrail
from edurise_backup.config import Settings
from edurise_backup.errors import BackupError, InputError, NotFoundError, TransientError, UnreachableError
from edurise_backup.model.audit import Outcome
from edurise_backup.model.jobs import BackupType, JobId, RecoveryTarget
from edurise_backup.model.people import Actor, Permission
from edurise_backup.operations.point_in_time import queue_recovery_to
from edurise_backup.operations.secrets import authorization, prefect_credential
from reports import parse_period

DEPLOYMENT = "edurise"
_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Launched:
    """What was started: a job row and the flow run that works on it."""

    kind: str
    """backup, verification, recovery, maintenance or report."""
    job_id: JobId
    """The row's; of a report the id that it will have."""
    flow_run_id: UUID
    flow_run_name: str


@dataclass(frozen=True, slots=True)
class RunState:
    """How a flow run stands with Prefect."""

    type: str
    name: str
    message: str

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen to the run."""
        return self.type in ("COMPLETED", "FAILED", "CRASHED", "CANCELLED")


class Actions:
    """What a person may start.

    `withdraw` ends a queued row (of a kind, by its id) that no run took up.
    `permitted` returns who acts, or writes a refusal and raises ForbiddenError;
    it is asked for every action, whatever page shows the button. `audit` is the
    trail: what cannot be written there is not started. `place` names the host
    that a backup of a type and source goes to, where several work; `living` says
    which hosts have a worker that lives.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        withdraw: Callable[[str, JobId], object],
        permitted: Callable[[Permission, str, str], Actor],
        audit: Callable[[], AuditTrail],
        place: Callable[[BackupType, str | None], str] = lambda kind, source: "",
        living: Callable[[], Collection[str]] = lambda: (),
    ) -> None:
        self._settings = settings
        self._url = settings.prefect_api_url.rstrip("/")
        self._auth: dict[str, str] | None = None
        self._withdraw = withdraw
        self._permitted = permitted
        self._audit = audit
        self._place = place
        self._living = living

    def back_up(self, backup_type: BackupType) -> Launched:
        """Queue a backup and start its run; raises ForbiddenError, UnreachableError, NotFoundError, ConfigError."""
        return self._launch(
            Permission.OPERATE,
            "backup",
            "backup",
            lambda: operations.queue_backup(backup_type, settings=self._settings),
            {"type": backup_type.value},
            host=self._place(backup_type, None),
        )

    def verify(self, backup_id: JobId) -> Launched:
        """Queue a verification of the backup and start its run; raises as `back_up`."""
        return self._launch(
            Permission.OPERATE,
            "verification",
            "verify",
            lambda: operations.queue_verification(backup_id, settings=self._settings),
            {"backup_id": str(backup_id)},
        )

    def recover(self, backup_id: JobId, target: RecoveryTarget, *, host: str = "") -> Launched:
        """Queue a recovery into a fresh target, on this host or any, and start its run; raises as `back_up`."""
        return self._launch(
            Permission.RESTORE,
            "recovery",
            "recover",
            lambda: operations.queue_recovery(backup_id, target, settings=self._settings),
            {
                "backup_id": str(backup_id),
                "directory": target.directory,
                "database_suffix": target.database_suffix,
                "buckets": target.buckets.value,
            },
            host=host,
        )

    def recover_to(self, source: str, moment: str, directory: str) -> Launched:
        """Queue a recovery of a cluster to a moment and start its run; raises InputError, else as `back_up`."""
        return self._launch(
            Permission.RESTORE,
            "recovery",
            "recover-to",
            lambda: queue_recovery_to(moment, Path(directory), source=source, settings=self._settings),
            {"source": source, "moment": moment, "directory": directory},
        )

    def check(self, budget: str) -> Launched:
        """Queue a check of the repository within a budget (empty: of its structure) and start its run."""
        return self._launch(
            Permission.OPERATE,
            "maintenance",
            "check",
            lambda: operations.queue_check(settings=self._settings, budget=budget),
            {"budget": budget},
        )

    def prune(self, *, dry_run: bool) -> Launched:
        """Queue a prune, or the dry run of one, and start its run; raises as `back_up`."""
        return self._launch(
            Permission.OPERATE if dry_run else Permission.ADMINISTER,
            "maintenance",
            "prune",
            lambda: operations.queue_prune(settings=self._settings, dry_run=dry_run),
            {"dry_run": dry_run},
        )

    def retain(self, *, dry_run: bool) -> Launched:
        """Queue a retention, or the dry run of one, and start its run; raises as `back_up`."""
        return self._launch(
            Permission.OPERATE if dry_run else Permission.ADMINISTER,
            "maintenance",
            "retain",
            lambda: operations.queue_retention(settings=self._settings, dry_run=dry_run),
            {"dry_run": dry_run},
        )

    def report(self, period: str, source: str, zone: str) -> Launched:
        """Start a run that makes a report; raises InputError for a wrong period, else as `back_up`."""
        parse_period(period, zone=zone)  # asked first: a run that can only fail is not started
        return self._launch(
            Permission.AUDIT,
            "report",
            "report",
            lambda: JobId(uuid4()),
            {"period": period.strip(), "source": source, "zone": zone},
            id_parameter="report_id",
            name_parameter="made_by",
            host=self._own(),
        )

    def _own(self) -> str:
        """Return this host when its worker lives: the files of a report lie where it was made, and are shown here."""
        return self._settings.host if self._settings.host in self._living() else ""

    def state(self, flow_run_id: UUID) -> RunState:
        """Return how the run stands; raises UnreachableError, NotFoundError."""
        with self._client() as client:
            state = _call(client, "GET", f"/flow_runs/{flow_run_id}").get("state") or {}
        return RunState(state.get("type") or "PENDING", state.get("name") or "Pending", state.get("message") or "")

    def start(
        self,
        permission: Permission,
        kind: str,
        flow: str,
        queue: Callable[[], JobId],
        parameters: Mapping[str, object],
        *,
        host: str = "",
    ) -> Launched:
        """Queue a job by `queue` and start its run (on one host), for whoever may; raises as `back_up`."""
        return self._launch(permission, kind, flow, queue, parameters, host=host)

    def parameters(self, flow_run_id: UUID) -> dict[str, Any]:
        """Return with which words a run was started; raises UnreachableError, NotFoundError."""
        with self._client() as client:
            return dict(_call(client, "GET", f"/flow_runs/{flow_run_id}").get("parameters") or {})

    def cancel(self, flow_run_id: UUID) -> None:
        """Let Prefect end a run; one that nobody has taken up yet is cancelled at once. Raises as `state`."""
        state = self.state(flow_run_id)
        if state.ended:
            return
        wanted = "CANCELLED" if state.type in ("SCHEDULED", "PENDING") else "CANCELLING"
        body = {"state": {"type": wanted, "name": wanted.capitalize(), "message": "cancelled on the dashboard"}}
        with self._client() as client:
            _call(client, "POST", f"/flow_runs/{flow_run_id}/set_state", {**body, "force": False})

    def _launch(
        self,
        permission: Permission,
        kind: str,
        flow: str,
        queue: Callable[[], JobId],
        parameters: Mapping[str, object],
        *,
        id_parameter: str = "job_id",
        name_parameter: str = "",
        host: str = "",
    ) -> Launched:
        action = f"{flow}.start"
        actor = self._permitted(permission, action, str(parameters.get("backup_id", "")))
        if name_parameter:
            parameters = {**parameters, name_parameter: actor.name}
        try:
            return self._start(actor, action, kind, flow, queue, parameters, id_parameter=id_parameter, host=host)
        except BackupError as error:
            detail = {**parameters, "error": error.message}
            self._audit().add(actor, action, outcome=Outcome.FAILED, detail=detail)
            raise

    def _start(
        self,
        actor: Actor,
        action: str,
        kind: str,
        flow: str,
        queue: Callable[[], JobId],
        parameters: Mapping[str, object],
        *,
        id_parameter: str,
        host: str,
    ) -> Launched:
        with self._client() as client:
            # asked first: without Prefect nothing is queued
            deployment = _call(client, "GET", f"/deployments/name/{flow}/{DEPLOYMENT}")
            job_id = queue()
            body = {"parameters": {**parameters, id_parameter: str(job_id)}, "idempotency_key": str(job_id)}
            if host and deployment.get("work_pool_name"):
                body["work_queue_name"] = host
            try:
                self._audit().add(actor, action, str(job_id), detail=parameters)
                run = _call(client, "POST", f"/deployments/{deployment['id']}/create_flow_run", body)
            except BackupError:
                with suppress(BackupError):  # the reconciler ends a row that nobody starts, only later
                    self._withdraw(kind, job_id)
                raise
        return Launched(kind, job_id, UUID(run["id"]), run["name"])

    @contextmanager
    def _client(self) -> Iterator[httpx.Client]:
        here = httpx.URL(self._url).host in ("127.0.0.1", "::1", "localhost")
        if self._auth is None and (credential := prefect_credential(self._settings)) is not None:
            self._auth = {"Authorization": authorization(credential)}
        try:
            with httpx.Client(base_url=self._url, timeout=_SECONDS, trust_env=not here, headers=self._auth) as client:
                yield client
        except UnreachableError:
            self._auth = None  # it may have changed: read again for the next request
            raise


# Prefect's SQLite database is busy at times (HTTP 503); every call may be repeated: a run has its job's key.
@tenacity.retry(
    retry=tenacity.retry_if_exception_type(TransientError),
    stop=tenacity.stop_after_delay(_SECONDS),
    wait=tenacity.wait_random_exponential(multiplier=0.2, max=2),
    reraise=True,
)
def _call(client: httpx.Client, method: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, Any]:
    try:
        response = client.request(method, path, json=body)
    except httpx.HTTPError as error:
        raise UnreachableError(
            f"Prefect at {client.base_url} does not answer, so nothing can be started from here",
            safe="nothing was started; backups and running jobs are not affected",
            hint="start it with `make up`, or run `edurise-backup backup` on the command line, which needs no Prefect",
        ) from error
    if response.status_code == httpx.codes.UNAUTHORIZED:
        raise UnreachableError(
            f"Prefect at {client.base_url} refuses the dashboard's credential (HTTP 401)",
            safe="nothing was started; backups and running jobs are not affected",
            hint="set [prefect] auth_file to its credential: docs/operations/keys-and-secrets.md",
        )
    if response.status_code == httpx.codes.NOT_FOUND:
        raise NotFoundError(
            f"Prefect does not know {path.removeprefix('/')}",
            safe="nothing was started",
            hint="start `python -m flows.serve`, which registers the deployments (`make up` runs it)",
        )
    if response.is_server_error:
        raise TransientError(
            f"Prefect could not take the request (HTTP {response.status_code})",
            safe="nothing was started",
            hint="look at the Prefect server's log, then try again",
        )
    if response.is_error:
        raise InputError(
            f"Prefect refused the request (HTTP {response.status_code}): {response.text[:300]}",
            safe="nothing was started",
            hint="the flows that are served may be of another version: start `make up` again",
        )
    answer: dict[str, Any] = response.json()
    return answer
