"""The checkpoints of published size that benchmarks.full_size makes, here in small."""

from pathlib import Path

from benchmarks.full_size import transfo_xl_wt103
from benchmarks.full_size.fairseq_wiki103 import FORMAT, PARAMETERS, Shape, make
from models.config.bodies import TransformerConfig, TransformerXLConfig
from models.config.model import ModelConfig
from models.importers import convert
from models.weightless import weightless

SMALL = Shape(layers=2, units=64, inner=96, cutoffs=(20, 60, 200), window=64)


def test_the_small_one_is_imported(tmp_path: Path) -> None:
    make(tmp_path, SMALL)
    converted = convert(FORMAT, tmp_path)
    body = converted.config.body
    assert isinstance(body, TransformerConfig)
    assert (body.layers, body.units, body.window, body.final_norm) == (2, 64, 64, False)
    assert converted.config.tied_projections
    assert converted.config.cutoffs == (20, 60, 200)
    assert converted.model().parameter_count() > 0


def test_the_large_one_has_the_published_number_of_parameters(tmp_path: Path) -> None:
    make(tmp_path, SMALL)
    small, large = convert(FORMAT, tmp_path).config, Shape()
    changes = {
        "vocabulary_size": large.cutoffs[-1],
        "hidden_size": large.units,
        "cutoffs": large.cutoffs,
        "bands": [{"clusters": 1, "width": large.units // large.factor**band} for band in (1, 2)],
        "body": small.body.model_copy(
            update={"layers": large.layers, "units": large.units, "inner": large.inner}
        ),
    }
    config = ModelConfig.model_validate(small.model_dump() | changes)
    assert weightless(config, frozenset()).parameter_count() == PARAMETERS
    assert round(PARAMETERS / 1e6, 1) == 246.9


def test_a_small_transformer_xl_is_imported(tmp_path: Path) -> None:
    shape = transfo_xl_wt103.Shape(2, 64, 96, 4, (20, 60, 120, 200), memory=8)
    transfo_xl_wt103.make(tmp_path, shape)
    converted = convert(transfo_xl_wt103.FORMAT, tmp_path)
    body = converted.config.body
    assert isinstance(body, TransformerXLConfig)
    assert converted.config.cutoffs == (20, 60, 120, 200)
    assert converted.config.head_projection == 64
    assert converted.model().parameter_count() > 0
