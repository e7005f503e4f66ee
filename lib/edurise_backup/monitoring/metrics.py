"""Metrics in Prometheus's text format, as a text or over HTTP."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from edurise_backup.errors import ConflictError
from edurise_backup.model.metrics import METRICS, PREFIX, MetricType, Sample

Collect = Callable[[], Iterable[Sample]]
"""Gives all samples as they are now; raises nothing."""


class _Collected(Collector):
    """Asks anew at each look."""

    def __init__(self, collect: Collect) -> None:
        self._collect = collect

    def describe(self) -> Iterable[Metric]:
        """Return nothing: else the registry would ask for everything when it is made."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the families that have a sample, in their order."""
        by_name: dict[str, list[Sample]] = {}
        for sample in self._collect():
            by_name.setdefault(sample.metric, []).append(sample)
        for metric in METRICS:
            if samples := by_name.pop(metric.name, None):
                kind = CounterMetricFamily if metric.type is MetricType.COUNTER else GaugeMetricFamily
                family = kind(f"{PREFIX}{metric.name}", metric.help, labels=metric.labels)
                for sample in samples:
                    family.add_metric(sample.labels, sample.value)
                yield family
        assert not by_name, f"metrics that nobody has declared: {sorted(by_name)}"


def metrics_text(collect: Collect) -> str:
    """Return all metrics as Prometheus reads them."""
    return generate_latest(_registry(collect)).decode()


@contextmanager
def metrics_served(collect: Collect, host: str, port: int) -> Iterator[int]:
    """Answer GET on any path inside the `with` block; yields the port. Raises ConflictError when it is in use."""
    try:
        server, thread = start_http_server(port, host, _registry(collect))
    except OSError as error:
        raise ConflictError(
            f"metrics cannot be served at {host}:{port}: {error.strerror or error}",
            safe="nothing was started",
            hint="choose another port, or an address of this host",
        ) from error
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def _registry(collect: Collect) -> CollectorRegistry:
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Collected(collect))
    return registry
