"""Workers on a Dask cluster: the one place that knows Dask.

A shard is a Prefect task. Dask gives it to another worker when one dies;
Prefect repeats it when it failed with what may pass. Parameters are an order,
which holds no secret; Prefect's credential stays in each process's environment.
"""

# No `from __future__ import annotations` here: Prefect checks a run's parameters against real types, not their names.

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

import httpx
from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.context import SettingsContext
from prefect.settings import PREFECT_API_URL

from edurise_backup.config import Settings, load_settings
from edurise_backup.errors import BackupError, ConfigError, TransientError, UnreachableError
from edurise_backup.machine.cores import cores
from edurise_backup.monitoring.logs import log_json_where_asked
from edurise_backup.monitoring.redaction import REDACTOR, protect_logs
from edurise_backup.operations.shard_work import do_order
from edurise_backup.operations.shared_sources import shared_sources
from edurise_backup.ports import Progress
from flows.policies import is_transient

if TYPE_CHECKING:
    from prefect_dask.task_runners import DaskTaskRunner, PrefectDaskFuture

_LOOK_SECONDS = 0.5
_ANSWER_SECONDS = 5.0
_RESTART_SECONDS = 60
_TRIES = 3
_TRY_DELAYS = [2.0, 20.0, 120.0]

_WITHOUT_PROFILER = {"distributed.worker.profile.enabled": False}
"""It calls sys._current_frames(), in which Python before 3.11.8 may stand still for ever (gh-106883)."""


@task(
    name="shard",
    task_run_name="shard {number}",
    retries=_TRIES,
    retry_delay_seconds=_TRY_DELAYS,
    retry_jitter_factor=0.2,
    retry_condition_fn=is_transient,
    cache_policy=NO_CACHE,
    persist_result=False,
)
def work_on(number: int, order: bytes, config_path: str | None) -> bytes:
    """Do an order in a worker, with its own configuration."""
    log_json_where_asked(os.environ)
    protect_logs()
    try:
        return do_order(order, load_settings(Path(config_path) if config_path else None))
    except BackupError as error:
        error.message, error.safe, error.hint = map(REDACTOR.clean, (error.message, error.safe, error.hint))
        error.args = (error.message,)
        raise


class DaskWorkers:
    """`ports.Workers` on the cluster that the settings name, or on one of this machine while it is needed."""

    def __init__(self, settings: Settings, config_path: Path | None) -> None:
        self._dask = settings.dask
        self._config = None if self._dask.address else config_path or settings.path

    @property
    def count(self) -> int:
        """How many orders are done at once."""
        return self._dask.workers

    @property
    def cores(self) -> int:
        """A cluster of this machine shares its processors; others have a machine for each worker."""
        return 0 if self._dask.address else max(1, cores() // self._dask.workers)

    def check(self) -> None:
        """Raise ConfigError or UnreachableError when no worker could start."""
        try:
            import prefect_dask  # noqa: F401
        except ImportError as error:
            raise ConfigError(
                "shards need prefect-dask, which is not installed",
                safe="nothing was started",
                hint="install edurise-backup[dask] here and where workers run",
            ) from error
        _require_server()

    def do(
        self, orders: Sequence[bytes], *, progress: Progress, still: Callable[[], Sequence[int]]
    ) -> Iterator[tuple[int, bytes]]:
        """Yield the answers as shards end; leaving early cancels what has not ended."""
        self.check()
        with self._runner() as runner:
            ended: SimpleQueue[int] = SimpleQueue()
            under_way = {}
            for at, order in enumerate(orders):
                under_way[at] = self._submit(runner, at, order)
                under_way[at].wrapped_future.add_done_callback(lambda _, at=at: ended.put(at))
            try:
                while under_way:
                    progress.raise_if_cancelled()
                    _end_workers_of(runner, [under_way[at] for at in still() if at in under_way])
                    with suppress(Empty):
                        at = ended.get(timeout=_LOOK_SECONDS)
                        yield at, _answer(under_way.pop(at))
            finally:
                runner.client.cancel([future.wrapped_future for future in under_way.values()], force=True)

    def _submit(self, runner: "DaskTaskRunner", at: int, order: bytes) -> "PrefectDaskFuture[bytes]":
        config = None if self._config is None else str(self._config)
        with without_credential():
            return runner.submit(work_on, {"number": at + 1, "order": order, "config_path": config})

    @contextmanager
    def _runner(self) -> Iterator["DaskTaskRunner"]:
        import dask
        from prefect_dask.task_runners import DaskTaskRunner

        if self._dask.address:
            runner = DaskTaskRunner(address=self._dask.address)
        else:
            runner = DaskTaskRunner(
                cluster_kwargs={
                    "n_workers": self._dask.workers,
                    "threads_per_worker": 1,
                    "memory_limit": 0,  # our own bounds hold; Dask would kill a worker for its page cache
                    "host": "127.0.0.1",
                    "dashboard_address": "127.0.0.1:0",  # jobs beside each other
                }
            )
        with dask.config.set(_WITHOUT_PROFILER), runner:
            self._require_workers(runner)
            yield runner

    def _require_workers(self, runner: "DaskTaskRunner") -> None:
        try:
            found = runner.client.scheduler_info()["workers"]
        except (OSError, TimeoutError) as error:
            raise UnreachableError(
                f"the Dask scheduler at {self._dask.address} does not answer",
                safe="nothing was stored",
                hint="start `dask scheduler` there, or mend dask.address",
            ) from error
        if not found:
            raise UnreachableError(
                f"the Dask scheduler at {self._dask.address} has no worker",
                safe="nothing was stored",
                hint="start `dask worker` on the machines that are to work",
            )


def _end_workers_of(runner: "DaskTaskRunner", futures: Sequence["PrefectDaskFuture[bytes]"]) -> None:
    """End the processes that work on these: their nannies start new ones, and the scheduler gives the shards away.

    A machine that stands still as a whole is taken out by the scheduler by itself (`distributed.scheduler.worker-ttl`).
    """
    keys = {future.wrapped_future.key for future in futures}
    if not keys:
        return
    at_work = runner.client.processing()
    addresses = [address for address, tasks in at_work.items() if keys & {str(key) for key in tasks}]
    with suppress(OSError, TimeoutError, ValueError):  # without a nanny the scheduler's own patience counts
        runner.client.restart_workers(addresses, timeout=_RESTART_SECONDS, raise_for_error=False)


def workers_of(settings: Settings, config_path: Path | None) -> DaskWorkers | None:
    """Return the workers of a configuration that has sources for them."""
    return DaskWorkers(settings, config_path) if shared_sources(settings) else None


class _Travelling(SettingsContext):
    """Settings as they go with a task: without Prefect's credential, which each worker has in its environment."""

    def serialize(self, include_secrets: bool = True) -> dict[str, Any]:
        """Return what is sent; whoever receives it fills what is missing from his own environment."""
        found = super().serialize(include_secrets)
        for name in ("auth_string", "key"):
            found["settings"].get("api", {}).pop(name, None)
        return found


@contextmanager
def without_credential() -> Iterator[None]:
    """Have what is sent to workers hold no credential."""
    context = SettingsContext.get()
    assert context is not None
    with _Travelling(profile=context.profile, settings=context.settings):
        yield


def _require_server() -> None:
    """Refuse without a server: each worker would start one of its own, and none would end."""
    url = PREFECT_API_URL.value()
    if not url:
        raise ConfigError(
            "shards run as Prefect tasks, and PREFECT_API_URL names no Prefect server",
            safe="nothing was started",
            hint="start the flow by its deployment (`make up`), or set PREFECT_API_URL",
        )
    answer = None
    with suppress(httpx.HTTPError):
        answer = httpx.get(f"{url}/health", timeout=_ANSWER_SECONDS)
    if answer is None or answer.status_code != httpx.codes.OK:
        raise UnreachableError(
            f"the Prefect server at {url} does not answer, and shards run as its tasks",
            safe="nothing was started",
            hint="start it, or set PREFECT_API_URL to one that runs",
        )


def _answer(future: "PrefectDaskFuture[bytes]") -> bytes:
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker as error:
        raise BackupError(
            f"a shard's workers died one after the other: {error}",
            safe="nothing was published; what was stored is used again by the next backup",
            hint="look at the workers' memory and logs; smaller shards need no less of it",
        ) from error
    except TransientError as error:  # it was repeated already: the whole job must not be, on top of that
        raise BackupError(
            f"a shard failed {_TRIES + 1} times: {error.message}", safe=error.safe, hint=error.hint
        ) from error
