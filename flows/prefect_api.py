"""The few calls of Prefect's HTTP interface that starting and following a run needs.

Plain httpx, because importing Prefect's own client takes seconds and 85 MB.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Any
from uuid import UUID

import httpx
import tenacity

from edurise_backup.errors import InputError, NotFoundError, TransientError, UnreachableError
from edurise_backup.model.database import Secret
from edurise_backup.operations.secrets import PREFECT_AUTH, authorization, known
from flows.credentials import LocalApi

ENDED = frozenset({"COMPLETED", "FAILED", "CRASHED", "CANCELLED"})
"""State types after which nothing more happens to a run."""
ACTIVE = frozenset({"PENDING", "RUNNING", "CANCELLING"})
"""State types of a run that some process should be working on."""
_PAGE = 200
"""The server gives no more runs at once."""


@dataclass(frozen=True, slots=True)
class FlowRun:
    """A run as the server has it now."""

    id: UUID
    name: str
    state_type: str
    """COMPLETED, FAILED, CRASHED, CANCELLED, or one of those that are not the end."""
    state: str
    """The state's name, as Prefect's page shows it."""
    message: str

    @property
    def ended(self) -> bool:
        """Whether nothing more will happen."""
        return self.state_type in ENDED


@dataclass(frozen=True, slots=True)
class PrefectSchedule:
    """A schedule of a deployment as the server has it now."""

    id: UUID
    slug: str
    active: bool
    schedule: Mapping[str, object]
    parameters: Mapping[str, object]
    updated: datetime


@dataclass(frozen=True, slots=True)
class ScheduledRun:
    """A run that waits for its time, or runs."""

    id: UUID
    state_type: str
    expected_start: datetime
    parameters: Mapping[str, object]
    tags: tuple[str, ...]
    queue: str = ""
    """The queue of a work pool that it waits in."""


@dataclass(frozen=True, slots=True)
class PrefectDeployment:
    """A deployment as the server has it now."""

    id: UUID
    pool: str
    """The work pool that its runs go to; empty: a runner on one machine takes them."""
    polled: bool
    """Whether somebody asked for its runs within the last minute."""


class PrefectApi:
    """A connection to one Prefect server; `url` ends with `/api`.

    The credential is `auth`, else the one that comes with a local server's
    address, else the one in the environment of a process that `make up` runs.
    """

    def __init__(self, url: str, auth: Secret | None = None) -> None:
        if auth is None and isinstance(url, LocalApi):
            auth = url.auth
        if auth is None and (given := os.environ.get(PREFECT_AUTH)):
            auth = known(given)
        self.url = url.rstrip("/")
        here = httpx.URL(self.url).host in ("127.0.0.1", "::1", "localhost")
        # a proxy of the environment is for the way out, never for a server on this machine
        headers = {} if auth is None else {"Authorization": authorization(auth)}
        self._client = httpx.Client(base_url=self.url, timeout=15.0, trust_env=not here, headers=headers)

    def __enter__(self) -> PrefectApi:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client.close()

    def healthy(self) -> bool:
        """Tell whether the server answers and can use its database."""
        try:
            return self._client.get("/ready", timeout=5.0).status_code == httpx.codes.OK
        except httpx.HTTPError:
            return False

    def deployment_id(self, full_name: str) -> UUID:
        """Return the id of the deployment `FLOW/NAME`; raises NotFoundError when it was never served."""
        answer = self._call("GET", f"/deployments/name/{full_name}")
        return UUID(answer["id"])

    def deployment(self, full_name: str) -> PrefectDeployment | None:
        """Return the deployment `FLOW/NAME`; None when it was never registered."""
        with suppress(NotFoundError):
            answer = self._call("GET", f"/deployments/name/{full_name}")
            return PrefectDeployment(
                UUID(answer["id"]), answer.get("work_pool_name") or "", answer.get("status") == "READY"
            )
        return None

    def pool_type(self, name: str) -> str | None:
        """Return the type of a work pool; None when there is none of this name."""
        with suppress(NotFoundError):
            return str(self._call("GET", f"/work_pools/{name}")["type"])
        return None

    def pool_template(self, name: str) -> Mapping[str, Any]:
        """Return the job template of a work pool; raises NotFoundError."""
        template: Mapping[str, Any] = self._call("GET", f"/work_pools/{name}")["base_job_template"]
        return template

    def keep_queue(self, pool: str, name: str) -> None:
        """Have a queue of this name in a work pool: whoever asks one that is missing for runs gets none at all."""
        path = f"/work_pools/{pool}/queues"
        try:
            self._call("GET", f"{path}/{name}")
        except NotFoundError:
            try:
                self._call("POST", path, {"name": name})
            except InputError:  # somebody else was quicker
                self._call("GET", f"{path}/{name}")

    def create_run(
        self, full_name: str, parameters: Mapping[str, object], *, idempotency_key: str, queue: str = ""
    ) -> FlowRun:
        """Ask for a run of the deployment; the same key gives the same run however often it is sent.

        `queue` is one of its work pool; without it the pool's default.
        """
        body = {"parameters": dict(parameters), "idempotency_key": idempotency_key, **_queued(queue)}
        path = f"/deployments/{self.deployment_id(full_name)}/create_flow_run"
        return _flow_run(self._call("POST", path, body))

    def run(self, run_id: UUID) -> FlowRun:
        """Return the run as it stands; raises NotFoundError."""
        return _flow_run(self._call("GET", f"/flow_runs/{run_id}"))

    def active_among(self, run_ids: Collection[UUID]) -> tuple[UUID, ...]:
        """Return those of the runs that the server takes for begun and not ended."""
        found: list[UUID] = []
        ids = [str(run_id) for run_id in run_ids]
        for at in range(0, len(ids), _PAGE):
            chosen = {"id": {"any_": ids[at : at + _PAGE]}, "state": {"type": {"any_": sorted(ACTIVE)}}}
            answer = self._call("POST", "/flow_runs/filter", {"flow_runs": chosen, "limit": _PAGE})
            found += [UUID(run["id"]) for run in answer]
        return tuple(found)

    def set_state(self, run_id: UUID, state_type: str, *, message: str = "", force: bool = False) -> None:
        """Propose a state; `force` also overrides an end that was reached."""
        state = {"type": state_type, "name": state_type.capitalize(), "message": message}
        self._call("POST", f"/flow_runs/{run_id}/set_state", {"state": state, "force": force})

    def schedules(self, deployment_id: UUID) -> tuple[PrefectSchedule, ...]:
        """Return the schedules of a deployment."""
        return tuple(map(_schedule, self._call("GET", f"/deployments/{deployment_id}/schedules")))

    def create_schedule(self, deployment_id: UUID, body: Mapping[str, object]) -> UUID:
        """Make a schedule of a deployment and return its id; raises InputError when its slug is taken."""
        return UUID(self._call("POST", f"/deployments/{deployment_id}/schedules", [body])[0]["id"])

    def replace_schedule(self, deployment_id: UUID, schedule_id: UUID, body: Mapping[str, object]) -> None:
        """Write a schedule anew. The body is always a full one: what it leaves out, the server would empty."""
        self._call("PATCH", f"/deployments/{deployment_id}/schedules/{schedule_id}", body)

    def delete_schedule(self, deployment_id: UUID, schedule_id: UUID) -> None:
        """Remove a schedule and the runs that the server made for it ahead; one that is gone is no error."""
        with suppress(NotFoundError):
            self._call("DELETE", f"/deployments/{deployment_id}/schedules/{schedule_id}")

    def open_runs(
        self, deployment_id: UUID, *, until: datetime, tags: Sequence[str] = (), limit: int = 200
    ) -> tuple[ScheduledRun, ...]:
        """Return runs of a deployment that have not ended and were meant to start by `until`, the latest first."""
        chosen: dict[str, object] = {
            "deployment_id": {"any_": [str(deployment_id)]},
            "state": {"type": {"any_": ["SCHEDULED", "PENDING", "RUNNING"]}},
            "expected_start_time": {"before_": until.astimezone(UTC).isoformat()},
        }
        chosen |= {"tags": {"all_": list(tags)}} if tags else {}
        body = {"flow_runs": chosen, "sort": "EXPECTED_START_TIME_DESC", "limit": limit}
        return tuple(map(_scheduled_run, self._call("POST", "/flow_runs/filter", body)))

    def create_run_at(
        self,
        deployment_id: UUID,
        at: datetime,
        parameters: Mapping[str, object],
        *,
        idempotency_key: str,
        tags: Sequence[str],
        queue: str = "",
    ) -> UUID:
        """Ask for a run at a time; the same key gives the same run."""
        moment = at.astimezone(UTC).isoformat()
        state = {"type": "SCHEDULED", "name": "Scheduled", "state_details": {"scheduled_time": moment}}
        body = {"parameters": dict(parameters), "idempotency_key": idempotency_key, "state": state, "tags": list(tags)}
        body |= _queued(queue)
        return UUID(self._call("POST", f"/deployments/{deployment_id}/create_flow_run", body)["id"])

    def delete_run(self, run_id: UUID) -> None:
        """Remove a run; one that is gone is no error."""
        with suppress(NotFoundError):
            self._call("DELETE", f"/flow_runs/{run_id}")

    # Prefect's SQLite database is busy at times (HTTP 503); every call may be repeated: runs have keys.
    @tenacity.retry(
        retry=tenacity.retry_if_exception_type(TransientError),
        stop=tenacity.stop_after_delay(20),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=3),
        reraise=True,
    )
    def _call(self, method: str, path: str, body: Mapping[str, object] | Sequence[object] | None = None) -> Any:
        try:
            response = self._client.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise UnreachableError(
                f"the Prefect server at {self.url} does not answer: {error}",
                safe="nothing was started; existing backups are untouched",
                hint="start it with `make up`, or set `prefect_api_url` to where it runs",
            ) from error
        if response.status_code == httpx.codes.UNAUTHORIZED:
            raise UnreachableError(
                f"the Prefect server at {self.url} refuses our credential (HTTP 401)",
                safe="nothing was started; existing backups are untouched",
                hint="set [prefect] auth_file, or PREFECT_API_AUTH_STRING: docs/operations/keys-and-secrets.md",
            )
        if response.status_code == httpx.codes.NOT_FOUND:
            raise NotFoundError(
                f"the Prefect server at {self.url} does not know {path}",
                hint="`python -m flows.serve` registers deployments on one machine, `python -m flows.deploy` a pool's",
            )
        if response.is_server_error:
            raise TransientError(f"the Prefect server failed on {path} (HTTP {response.status_code})")
        if not response.is_success:  # a redirect, too: it would be taken for an empty answer
            raise InputError(f"the Prefect server refused {path}: {response.text[:500]}")
        try:
            return response.json() if response.content else None
        except ValueError as error:  # a proxy's own page, as such
            raise TransientError(f"the Prefect server at {self.url} answered {path} with what is no JSON") from error


def not_registered(url: str) -> NotFoundError:
    """Return the error of a server that knows none of our deployments."""
    return NotFoundError(
        f"the Prefect server at {url} does not know the deployments",
        hint="`python -m flows.serve` registers those of one machine, `python -m flows.deploy` a pool's",
    )


def _queued(queue: str) -> dict[str, str]:
    return {"work_queue_name": queue} if queue else {}


def _flow_run(answer: dict[str, Any]) -> FlowRun:
    state = answer.get("state") or {}
    return FlowRun(
        id=UUID(answer["id"]),
        name=answer["name"],
        state_type=state.get("type") or "PENDING",
        state=state.get("name") or "Pending",
        message=state.get("message") or "",
    )


def _schedule(answer: dict[str, Any]) -> PrefectSchedule:
    return PrefectSchedule(
        id=UUID(answer["id"]),
        slug=answer.get("slug") or "",
        active=bool(answer["active"]),
        schedule=answer["schedule"],
        parameters=answer.get("parameters") or {},
        updated=datetime.fromisoformat(answer["updated"]),
    )


def _scheduled_run(answer: dict[str, Any]) -> ScheduledRun:
    return ScheduledRun(
        id=UUID(answer["id"]),
        state_type=(answer.get("state") or {}).get("type") or "PENDING",
        expected_start=datetime.fromisoformat(answer["expected_start_time"]),
        parameters=answer.get("parameters") or {},
        tags=tuple(answer.get("tags") or ()),
        queue=answer.get("work_queue_name") or "",
    )
