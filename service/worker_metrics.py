"""Metrics where HTTP is answered by several processes: `/metrics` is the same page from any of them.

Each worker's numbers are in files that all workers can read (prometheus_client's multiprocess mode). A worker
that is killed loses none, and the one that takes its place counts on in its files, so that no counter ever
goes back: sums asked of the living would. The engine's numbers are its own, since some are functions of its
queue: whoever is scraped asks it. They begin at 0 when it is restarted, as any process's do.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from prometheus_client import CollectorRegistry, PlatformCollector, generate_latest, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.samples import Sample

from service import wire
from service.metrics import Metrics
from service.process_group import ProcessGroupCollector

_DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


class WorkerMetrics(Metrics):
    """A worker's `Metrics`. One in a process: it decides where this process's numbers are kept.

    Args:
        n_clusters: as for `Metrics`.
        directory: for all workers' files, and for the list of our processes.
        worker: distinct for each worker that runs; the same for one that takes another's place.
        engine: returns the engine's numbers; waits for them.
    """

    def __init__(
        self, n_clusters: int, directory: Path, worker: str, engine: Callable[[], Sequence[wire.Sample]]
    ) -> None:
        os.environ[_DIRECTORY_VARIABLE] = str(directory)
        values.ValueClass = values.MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
        super().__init__(n_clusters)
        self._engine = engine
        self._model: GaugeMetricFamily | None = None
        self._page = CollectorRegistry()
        self._page.register(_Page(self._collect))
        self._files = MultiProcessCollector(None, str(directory))  # type: ignore[no-untyped-call]
        ProcessGroupCollector(directory, self._page)
        PlatformCollector(registry=self._page)

    def describe_model(
        self,
        *,
        model: str,
        architecture: str,
        vocabulary_size: int,
        clusters: int,
        parameters: int,
        dtype: str,
        device: str,
    ) -> None:
        """Sets `model_info`: in this process alone, or every worker would add 1."""
        names = ["model", "architecture", "vocabulary_size", "clusters", "parameters", "dtype", "device"]
        labels = [model, architecture, str(vocabulary_size), str(clusters), str(parameters), dtype, device]
        self._model = GaugeMetricFamily("headfirst_model_info", "The served model; always 1", labels=names)
        self._model.add_metric(labels, 1)

    def render(self) -> bytes:
        """The page of all workers and the engine. Blocks until the engine has answered."""
        return generate_latest(self._page)

    def _collect(self) -> Iterable[Metric]:
        engine = {_key(sample.name, sample.labels): sample.value for sample in self._engine()}
        for family in self._files.collect():  # type: ignore[no-untyped-call]
            # What one side counts is 0 on the other, so that the sum is right for every series.
            family.samples = [
                Sample(name, labels, value + engine.get(_key(name, labels), 0.0))
                for name, labels, value, *_ in family.samples
            ]
            yield family
        if self._model is not None:
            yield self._model


class _Page:
    """A collector that is a function, and is not asked before the first scrape."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect

    def describe(self) -> Iterable[Metric]:
        return []


def forget_gauges(directory: Path, worker: str) -> None:
    """To be called when a worker has ended: what it had in progress is not any more."""
    mark_process_dead(worker, str(directory))  # type: ignore[no-untyped-call]


def _key(name: str, labels: dict[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())
