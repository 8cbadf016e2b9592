"""A model's shapes without its weights, which are about to be loaded or are in another process."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from models.config.model import ModelConfig
from models.language_model import LanguageModel

_INITIALIZERS = frozenset(
    {
        *(nn.init.normal_, nn.init.uniform_, nn.init.kaiming_uniform_, nn.init.constant_),
        *(Tensor.normal_, Tensor.uniform_, Tensor.zero_, Tensor.fill_),
    }
)


class _NoInitialization(TorchFunctionMode):
    """Leaves tensors as they are where they would be initialized.

    On the meta device nothing is computed, but torch imports its compiler to find that out: 2 s.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        kwargs = kwargs or {}
        if func in _INITIALIZERS:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def weightless(config: ModelConfig, excluded: frozenset[int]) -> LanguageModel:
    """A `LanguageModel` on torch's meta device: parameters have shapes and no values.

    The caller that loads weights calls `softmax.exclude` again.

    Raises:
        RuntimeError: sizes that no tensor can have.

    """
    with torch.device("meta"), _NoInitialization():
        return LanguageModel(config, excluded)
