"""Metrics where HTTP is answered by several processes: `/metrics` is the same page from any of them.

Each worker's numbers are in files that all workers can read (prometheus_client's multiprocess mode). A worker
that is killed loses none, and the one that takes its place counts on in its files, so that no counter ever
goes back: sums asked of the living would. The engine's numbers are its own, since some are functions of its
queue: the worker that is scraped asks it. They begin at 0 when it is restarted, as any process's do.
"""

import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, PlatformCollector, values
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.samples import Exemplar
from prometheus_client.samples import Sample as PageSample

from service.contract.model_card import MODEL_LABELS, ModelCard, model_labels
from service.metrics.process_group import ProcessGroupCollector, engine_restarts
from service.metrics.registry import Metrics, encode
from service.metrics.samples import Sample

RESTARTS = "headfirst_engine_restarts_total"

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
        self, n_clusters: int, directory: Path, worker: str, engine: Callable[[], Sequence[Sample]]
    ) -> None:
        os.environ[_DIRECTORY_VARIABLE] = str(directory)
        values.ValueClass = _with_exemplars(values.MultiProcessValue(lambda: worker))  # type: ignore[no-untyped-call]
        super().__init__(n_clusters)
        self._engine = engine
        self._directory = directory
        self.describe_models(())
        self._page = CollectorRegistry()
        self._page.register(_Page(self._collect))
        self._files = MultiProcessCollector(None, str(directory))  # type: ignore[no-untyped-call]
        ProcessGroupCollector(directory, self._page)
        PlatformCollector(registry=self._page)

    def describe_models(self, models: Iterable[ModelCard]) -> None:
        """Sets `model_info`: in this process alone, or every worker would add 1."""
        info = GaugeMetricFamily("headfirst_model_info", "A served model; always 1", labels=MODEL_LABELS)
        for labels in map(model_labels, models):
            info.add_metric(labels, 1)
        self._info = info

    def render(self, *, exemplars: bool = False) -> bytes:
        """The page of all workers and the engine. Blocks until the engine has answered.

        Its exemplars are this worker's own requests: the files that the workers share have no room for any.
        """
        return encode(self._page, exemplars=exemplars)

    def _collect(self) -> Iterable[Metric]:
        """What one side counts is 0 on the other, so that the sum is right for every series."""
        told = [*self._engine(), Sample(RESTARTS, {}, engine_restarts(self._directory))]
        left = {_key(sample.name, sample.labels): sample for sample in told}
        exemplars = self._own_exemplars()
        for family in self._files.collect():  # type: ignore[no-untyped-call]
            sums = []
            for name, labels, value, *_ in family.samples:
                sample = left.pop(_key(name, labels), None)
                total = value + (0.0 if sample is None else sample.value)
                sums.append(PageSample(name, labels, total, None, exemplars.get(_key(name, labels))))
            names = {sample.name for sample in sums}
            # Labels that the workers have not: a model that came by a reload may have more clusters.
            more = [sample for sample in left.values() if sample.name in names]
            family.samples = sums + [PageSample(sample.name, sample.labels, sample.value) for sample in more]
            yield family
        yield self._info

    def _own_exemplars(self) -> dict[tuple[str, frozenset[tuple[str, str]]], Exemplar]:
        return {
            _key(sample.name, sample.labels): sample.exemplar
            for family in self.request_duration_seconds.collect()
            for sample in family.samples
            if sample.exemplar is not None
        }


class _Page:
    """A collector that is a function, and is not asked before the first scrape."""

    def __init__(self, collect: Callable[[], Iterable[Metric]]) -> None:
        self.collect = collect

    def describe(self) -> Iterable[Metric]:
        return []


def _with_exemplars(value_class: Any) -> Any:
    """The class of this process's values, remembering exemplars, which `value_class` drops."""

    class Value(value_class):  # type: ignore[misc]
        _exemplar: Exemplar | None = None

        def set_exemplar(self, exemplar: Exemplar) -> None:
            self._exemplar = exemplar

        def get_exemplar(self) -> Exemplar | None:
            return self._exemplar

    return Value


def forget_gauges(directory: Path, worker: str) -> None:
    """To be called when a worker has ended: it has nothing in progress from now on."""
    mark_process_dead(worker, str(directory))  # type: ignore[no-untyped-call]


def _key(name: str, labels: dict[str, str]) -> tuple[str, frozenset[tuple[str, str]]]:
    return name, frozenset(labels.items())
