"""A model without weights: the right shapes, and nothing imported to get them."""

from __future__ import annotations

import subprocess
import sys

from models.weightless import weightless
from tests.support.tiny import tiny_config, tiny_model


def test_shapes_are_those_of_the_model() -> None:
    model = weightless(tiny_config(), frozenset({0}))
    assert {name: value.shape for name, value in model.state_dict().items()} == {
        name: value.shape for name, value in tiny_model().state_dict().items()
    }
    assert model.parameter_count() == tiny_model().parameter_count()
    assert all(parameter.is_meta for parameter in model.parameters())


def test_torch_imports_no_compiler() -> None:
    code = (
        "import sys\n"
        "from models.weightless import weightless\n"
        "from tests.support.tiny import tiny_config\n"
        "weightless(tiny_config(), frozenset({0}))\n"
        "assert 'torch._dynamo' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=120)
