"""Loading says where the state cache has no room for the state of a long text."""

import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from models.bundle import Bundle
from models.config.bodies import BodyConfig, TransformerConfig, TransformerXLConfig
from service.engine.state_cache import StateCache
from service.fleet.fleet import Fleet
from service.fleet.loading import load
from service.http.api.examples import describe
from service.metrics.registry import Metrics
from service.settings.settings import Settings
from tests.support.engines import FakeEngine, compute
from tests.support.tiny import tiny_bundle, tiny_config

WORDS = 40
TRANSFORMER = TransformerConfig(layers=2, units=32, heads=4, inner=24, window=24)
BODIES: dict[str, BodyConfig] = {
    "transformer": TRANSFORMER,
    "transformer with an overlap": TRANSFORMER.model_copy(update={"overlap": 8}),
    "Transformer-XL": TransformerXLConfig(
        layers=2, heads=2, head_size=16, inner=24, memory=16, segment=8, initial_memory="zeros"
    ),
}


def bundle_of(directory: Path, body: BodyConfig) -> Path:
    return tiny_bundle(directory, tiny_config().model_copy(update={"body": body}))


def warned(caplog: pytest.LogCaptureFixture, *paths: Path, cache: int) -> list[tuple[str, dict[str, Any]]]:
    """What a fleet of these models says about its cache."""
    models = tuple(f"{path.name}{number}={path}" for number, path in enumerate(paths))
    settings = Settings(model=models, device="cpu", state_cache_bytes=cache, max_context_words=WORDS)
    loaded = [load(source, settings, describe) for source in settings.sources]

    def engine(bundle: Bundle, *_: object) -> FakeEngine:
        return FakeEngine(lambda message: compute(bundle, message))

    with caplog.at_level(logging.WARNING, "headfirst"):
        caplog.clear()
        fleet = Fleet(settings, Metrics(), loaded, describe, make_engine=engine)  # type: ignore[arg-type]
    for served in fleet.catalog:
        served.engine.close()  # type: ignore[attr-defined]
    return [(record.getMessage(), record.fields) for record in caplog.records]  # type: ignore[attr-defined]


def largest(path: Path) -> int:
    """Bytes of the largest entry that a text of `WORDS` words leaves in a cache."""
    model = Bundle.load(path, "cpu").model
    ids = torch.arange(2, WORDS + 3)[None]
    sizes = []
    for words in range(1, WORDS + 1):
        hidden, state = model.encode(ids[:, : words + 1], torch.tensor([words + 1]), model.initial_state(1))
        cache = StateCache(1 << 30)
        cache.put(tuple(range(words)), model.split_state(state)[0], hidden[0, -1].clone())
        sizes.append(cache.nbytes)
    return max(sizes)


@pytest.mark.parametrize("body", BODIES.values(), ids=BODIES.keys())
def test_it_warns_where_the_largest_state_does_not_fit(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, body: BodyConfig
) -> None:
    path = bundle_of(tmp_path, body)
    needed = largest(path)
    ((message, fields),) = warned(caplog, path, cache=1000)
    # The entry of fewer words may have more of the body's state, and has fewer tokens.
    assert needed <= fields["state_bytes"] <= needed + 8 * WORDS
    assert fields["state_cache_bytes"] == 1000
    assert fields["model"] == f"{path.name}0"
    assert f"a text of {WORDS} words does not fit" in message
    assert f"--state-cache-bytes {fields['state_bytes']} at least" in message
    assert warned(caplog, path, cache=fields["state_bytes"] - 1)
    assert warned(caplog, path, cache=fields["state_bytes"]) == []


def test_each_model_has_its_part(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = bundle_of(tmp_path, TRANSFORMER)
    first, second = warned(caplog, path, path, cache=2000)
    assert (first[1]["model"], second[1]["model"]) == (f"{path.name}0", f"{path.name}1")
    assert first[1]["state_cache_bytes"] == 1000
    assert f"--state-cache-bytes {2 * first[1]['state_bytes']} at least" in first[0]
    assert warned(caplog, path, path, cache=2 * first[1]["state_bytes"]) == []


def test_nothing_is_said_where_nothing_is_to_be_kept(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert warned(caplog, bundle_of(tmp_path, TRANSFORMER), cache=0) == []


def test_an_lstm_fits_the_default_many_times(bundle: Bundle) -> None:
    assert 100 * bundle.model.state_bytes(1 << 20) < Settings.model_fields["state_cache_bytes"].default
