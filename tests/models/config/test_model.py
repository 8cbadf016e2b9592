"""`config.json`: what it accepts, and the one fault it names."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import ValidationError

from models.config.bodies import LSTMConfig
from models.config.model import Band, ModelConfig
from tests.support.tiny import tiny_config

SPELLING = {"kind": "ngrams", "order": 6, "log_share": -0.1, "digest": "0" * 64}


def config_with(**changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = json.loads(tiny_config().model_dump_json())
    for name, value in changes.items():
        *parents, last = name.split("__")
        place = values
        for parent in parents:
            place = place[parent]
        if value is ...:
            del place[last]
        else:
            place[last] = value
    return values


def test_json_round_trips() -> None:
    for config in (
        tiny_config(),
        tiny_config(tied=False, layers=1),
        tiny_config().model_copy(update={"factor": 4.0}),
    ):
        assert ModelConfig.model_validate_json(config.model_dump_json()) == config


def test_derived_sizes() -> None:
    config = tiny_config()
    assert config.n_clusters == 6
    assert config.architecture == "lstm"
    assert config.band_edges == (40, 120, 280)


def test_a_plain_softmax_has_no_bands() -> None:
    config = ModelConfig(vocabulary_size=9, hidden_size=4, cutoffs=(9,), body=LSTMConfig(layers=1, units=4))
    assert (config.n_clusters, config.band_edges, config.bands) == (0, (9,), ())


def test_it_does_not_change() -> None:
    config = tiny_config()
    with pytest.raises(ValidationError, match="frozen"):
        config.hidden_size = 3  # type: ignore[misc]
    with pytest.raises(ValidationError, match="frozen"):
        config.bands[0].width = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("changes", "place", "message"),
    [
        ({"hidden_size": "32"}, "hidden_size", "valid integer"),
        ({"hidden_size": 32.0}, "hidden_size", "valid integer"),
        ({"hidden_size": True}, "hidden_size", "valid integer"),
        ({"hidden_size": 0}, "hidden_size", "greater than or equal to 1"),
        ({"vocabulary_size": None}, "vocabulary_size", "valid integer"),
        ({"vocabulary_size": ...}, "vocabulary_size", "Field required"),
        ({"vocabulary_size": 281}, "", r"the last cutoff \(280\) must be vocabulary_size \(281\)"),
        ({"cutoffs": []}, "cutoffs", "at least 1 item"),
        ({"cutoffs": 280}, "cutoffs", "valid array"),
        ({"cutoffs": [40, "60", 280]}, "cutoffs.1", "valid integer"),
        ({"cutoffs": [-1, 280]}, "cutoffs.0", "greater than or equal to 0"),
        ({"cutoffs": [40, 40, 280]}, "", r"cutoffs must ascend, got \[40, 40, 280\]"),
        ({"cutoffs": [60, 40, 280]}, "", "cutoffs must ascend"),
        ({"cutoffs": [40, 280]}, "", "bands hold 6 clusters, the cutoffs make 1"),
        ({"bands": []}, "", "bands hold 0 clusters, the cutoffs make 6"),
        ({"bands": [{"clusters": 6}]}, "bands.0.width", "Field required"),
        ({"bands": [{"clusters": 6, "width": -1}]}, "bands.0.width", "greater than or equal to 0"),
        ({"bands": [{"clusters": 6, "width": 2, "depth": 1}]}, "bands.0.depth", "not permitted"),
        ({"tied": "yes"}, "tied", "valid boolean"),
        ({"embedding_scale": 0.0}, "embedding_scale", "greater than 0"),
        ({"embedding_scale": float("inf")}, "embedding_scale", "finite number"),
        ({"embedding_scale": float("nan")}, "embedding_scale", "greater than 0|finite number"),
        ({"factor": -1.0}, "factor", "greater than 0"),
        ({"format_version": 3}, "format_version", "Input should be 1 or 2"),
        ({"spelling": SPELLING}, "", "spelling is a part of format_version 2"),
        ({"cluster_order": "reversed"}, "cluster_order", "Input should be 'natural'"),
        ({"colour": "blue"}, "colour", "not permitted"),
        ({"end_word": "<unk>"}, "", "unknown_word and end_word are both '<unk>'"),
        ({"body": None}, "body", "valid dictionary|instance of LSTMConfig|object"),
        ({"body__type": "mamba"}, "body", "'mamba' .* does not match any of the expected tags: 'lstm'"),
        ({"body__layers": 0}, "body.lstm.layers", "greater than or equal to 1"),
        ({"body__layers": 10**9}, "body.lstm.layers", "less than or equal to 100"),
        ({"body__projection": -1}, "body.lstm.projection", "greater than or equal to 0"),
        ({"body__projection": 48}, "body.lstm", r"projection \(48\) must be less than units \(48\)"),
    ],
    ids=lambda value: json.dumps(value, default=str)[:40] if isinstance(value, dict) else "",
)
def test_one_fault_is_named(changes: dict[str, Any], place: str, message: str) -> None:
    with pytest.raises(ValidationError, match=message) as raised:
        ModelConfig.model_validate_json(json.dumps(config_with(**changes)))
    assert ".".join(map(str, raised.value.errors()[0]["loc"])) == place


def test_bands_in_python_are_tuples_too() -> None:
    config = ModelConfig(
        vocabulary_size=9,
        hidden_size=4,
        cutoffs=(3, 9),
        bands=(Band(clusters=1, width=2),),
        body=LSTMConfig(layers=1, units=4),
    )
    assert config.bands == (Band(clusters=1, width=2),)
