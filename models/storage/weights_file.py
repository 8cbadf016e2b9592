"""A model's weights on disk: ``model.safetensors``, checked when it is read."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path
from typing import Final

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from models.bodies.integer_products import PAIR_MAX, WEIGHT_MAX, fits_pairs
from models.config.quantization import QuantizationConfig

SCALE: Final = ".scale"
"""Added to a table's name: the scales (rows,) of its 8-bit rows."""

_DTYPES = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
_TABLES = ("softmax.head", "softmax.tails.", "softmax.band_tables.", "embedding.head", "embedding.tails.")


class WeightsError(ValueError):
    """What is wrong with weights."""


def write_weights(
    file: Path, weights: dict[str, Tensor], dtype: torch.dtype, quantization: QuantizationConfig | None
) -> None:
    """Write `weights`, floats as `dtype`.

    Those of a quantized body are written as they are, and with 8-bit tables those with their scales.

    Raises:
        WeightsError: a weight that is not finite in its type.
    """
    stored: dict[str, Tensor] = {}
    for key, value in weights.items():
        value = value.detach().cpu()
        if quantization is not None and key.startswith("body."):
            stored[key] = value.contiguous()
        elif _is_table(key, value, quantization):
            stored[key], stored[key + SCALE] = _table_codes(value)
        else:
            stored[key] = value.to(dtype).contiguous()
    for key, value in stored.items():
        if not bool(value.isfinite().all()):
            raise WeightsError(f"{key} is not finite as {value.dtype}")
    save_file(stored, file)
    file.chmod(0o644)  # the library makes it private; a server runs as another user


def read_weights(
    file: Path, expected: dict[str, Tensor], device: torch.device, quantization: QuantizationConfig | None
) -> tuple[dict[str, Tensor], str]:
    """The weights that `expected` has the names, shapes and types of, and the types of those on disk.

    Raises:
        WeightsError: others are there, or values that are not finite or, of 8 bits, too large.
    """
    tables = {name for name, want in expected.items() if _is_table(name, want, quantization)}
    shapes = {name: list(want.shape) for name, want in expected.items()}
    shapes |= {name + SCALE: shapes[name][:1] for name in tables}
    found: dict[str, Tensor] = {}
    dtypes: set[str] = set()
    try:
        with safe_open(file, framework="pt") as stored:
            _check_names(shapes.keys(), set(stored.keys()))
            for name, shape in shapes.items():
                entry = stored.get_slice(name)
                if entry.get_shape() != shape:
                    raise WeightsError(f"{name} has shape {entry.get_shape()}, config.json asks for {shape}")
                integer = name in tables or (name in expected and expected[name].dtype == torch.int8)
                dtypes.add(_checked_type(name, entry.get_dtype(), integer))
                # A copy: a file changed under a running server must not reach its weights.
                value = stored.get_tensor(name).to(torch.int8 if integer else torch.float32, copy=True)
                if not bool(value.isfinite().all()):
                    raise WeightsError(f"{name} holds values that are not finite")
                if integer and name not in tables and not fits_pairs(value):
                    raise WeightsError(
                        f"{name} has neighboring weights that add up to more than {PAIR_MAX}: not written by"
                        " headfirst quantize"
                    )
                found[name] = value
    except (SafetensorError, OSError) as error:
        raise WeightsError(str(error)) from None
    weights = {}
    for name in expected:
        value = found[name]
        if name in tables:
            value = value.float() * found[name + SCALE][:, None]
            if not bool(value.isfinite().all()):
                raise WeightsError(f"{name} times its scales is not finite")
        weights[name] = value.to(device)
    return weights, "/".join(sorted(dtypes))


def _check_names(wanted: Set[str], names: Set[str]) -> None:
    for problem, differing in (("missing", wanted - names), ("unknown", names - wanted)):
        if differing:
            others = f" and {len(differing) - 1} others" if len(differing) > 1 else ""
            raise WeightsError(f"{problem} weight {min(differing)}{others}")


def _checked_type(name: str, stored: str, integer: bool) -> str:
    if integer:
        if stored != "I8":
            raise WeightsError(f"{name} has type {stored}, config.json asks for I8")
        return "int8"
    if stored not in _DTYPES:
        raise WeightsError(f"{name} has type {stored}, not a floating-point one")
    return _DTYPES[stored]


def _is_table(name: str, weight: Tensor, quantization: QuantizationConfig | None) -> bool:
    return (
        quantization is not None
        and quantization.tables == "int8"
        and name.startswith(_TABLES)
        and weight.dim() == 2
        and weight.shape[1] > 0
    )


def _table_codes(table: Tensor) -> tuple[Tensor, Tensor]:
    """int8 rows and their scales, in bfloat16.

    Scales have 4 significant bits, rounded up: times 7 bits that is a float16 number, which kernels read.
    """
    table = table.float()
    mantissa, exponent = torch.frexp(table.abs().amax(1) / WEIGHT_MAX)
    scale = torch.ldexp((mantissa * 16).ceil() / 16, exponent)
    codes = (table / torch.where(scale > 0, scale, 1.0)[:, None]).round()
    return codes.to(torch.int8), scale.bfloat16()
