"""A registry's values as plain data, to be added to those of another process."""

import msgspec
from prometheus_client import CollectorRegistry


class Sample(msgspec.Struct, frozen=True, array_like=True):
    """One value of a metric."""

    name: str
    labels: dict[str, str]
    value: float


def samples(registry: CollectorRegistry) -> tuple[Sample, ...]:
    """The values of all metrics of ours that are not 0."""
    return tuple(
        Sample(sample.name, dict(sample.labels), sample.value)
        for family in registry.collect()
        if family.name.startswith("headfirst_")
        for sample in family.samples
        if sample.value
    )
