"""What a fairseq checkpoint says of its model: `args` or `cfg`, and which options there change the function.

Every option of the model is either used, known to matter in training only, or must be off. One that this
importer has never heard of is refused: it may change what the model computes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from models.importers.base import CheckpointError
from models.importers.pickles.checkpoint import attributes

_USED: Final = frozenset(
    """
    activation_fn adaptive_input adaptive_input_cutoff adaptive_input_factor adaptive_softmax_cutoff
    adaptive_softmax_factor add_bos_token decoder_attention decoder_attention_heads decoder_embed_dim
    decoder_ffn_embed_dim decoder_final_norm decoder_input_dim decoder_layers decoder_learned_pos
    decoder_normalize_before decoder_out_embed_dim decoder_output_dim layernorm_embedding max_positions
    max_target_positions no_decoder_final_norm no_scale_embedding no_tie_adaptive_proj
    no_token_positional_embeddings quant_noise_pq share_decoder_input_output_embed tie_adaptive_proj
    tie_adaptive_weights tokens_per_sample
    """.split()
)
_TRAINING_ONLY: Final = frozenset(
    """
    activation_dropout adaptive_softmax_dropout attention_dropout base_shuffle base_sublayers
    char_embedder_highway_layers character_embedding_dim character_filters checkpoint_activations
    decoder_layerdrop dropout min_params_to_wrap offload_activations quant_noise_pq_block_size relu_dropout
    tpu _name arch
    """.split()
)
_MUST_BE_OFF: Final = frozenset(
    """
    base_layers character_embeddings cross_self_attention decoder_layers_to_keep decoder_xformers_att_config
    past_target quant_noise_scalar scale_attn scale_fc scale_heads scale_resids self_target
    """.split()
)
_OF_A_MODEL: Final = (
    "activation_fn", "adaptive_", "alibi", "attention_", "attn_", "base_", "char", "cross_", "decoder_",
    "encoder_", "layernorm_", "no_tie_", "quant_noise_", "rotary", "scale_", "share_", "tie_", "use_alibi",
)  # fmt: skip
"""How options of a model begin, in a namespace that holds those of everything else, too."""


@dataclass(frozen=True, slots=True)
class FairseqOptions:
    """The options of a checkpoint, by name; `arch` is the architecture's."""

    arch: str
    values: Mapping[str, Any]
    file: Path

    def flag(self, name: str, default: bool = False) -> bool:
        """A switch. Raises CheckpointError if it is something else."""
        value = self.values.get(name, default)
        if value is None:
            return default
        if not isinstance(value, bool | int) or value not in (0, 1):
            raise CheckpointError(f"{self.file}: option {name} is {value!r}, not true or false")
        return bool(value)

    def number(self, name: str) -> int | None:
        """A positive integer, None if it is not given. Raises CheckpointError if it is something else."""
        value = self.values.get(name)
        if value is None:
            return None
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise CheckpointError(f"{self.file}: option {name} is {value!r}, not a positive number")
        return value

    def expect(self, name: str, found: int) -> None:
        """Raises CheckpointError if the option is given and is not what the weights show."""
        value = self.number(name)
        if value not in (None, found):
            raise CheckpointError(f"{self.file}: option {name} is {value}, its weights show {found}")

    def refuse(self, name: str) -> CheckpointError:
        """The error for an option that is on and has no counterpart here."""
        return CheckpointError(
            f"{self.file}: option {name} is {self.values.get(name)!r}, which is not supported"
        )


def read_options(state: Mapping[str, Any], file: Path) -> FairseqOptions:
    """The options in a checkpoint, all of them understood.

    Raises:
        CheckpointError: there are none, they are of another task, or one is on or unknown that would change
            the function.
    """
    args, cfg = state.get("args"), attributes(state.get("cfg"))
    if args is not None:
        model = task = attributes(args)
        task_name = task.get("task", "language_modeling")
        names = [name for name in model if name.startswith(_OF_A_MODEL)]
    elif cfg.get("model") is not None:
        model, task = attributes(cfg["model"]), attributes(cfg.get("task"))
        task_name = task.get("_name") or task.get("task") or "language_modeling"
        # A model of the older kind has the options of everything else among its own here, too.
        mixed = not isinstance(cfg["model"], Mapping)
        names = [name for name in model if not mixed or name.startswith(_OF_A_MODEL)]
    else:
        raise CheckpointError(f"{file}: holds neither args nor cfg, so it is not a fairseq checkpoint")
    values = {**{name: task[name] for name in task if name in _USED | _MUST_BE_OFF}, **model}
    arch = model.get("arch") if args is not None else model.get("_name") or model.get("arch")
    if not isinstance(arch, str):
        raise CheckpointError(f"{file}: does not name its architecture")
    options = FairseqOptions(arch, values, file)
    if task_name != "language_modeling":
        raise CheckpointError(f"{file}: its task is {task_name!r}, not language_modeling")
    for name in sorted(_MUST_BE_OFF):
        if values.get(name) not in (None, False, 0, "", "False"):
            raise options.refuse(name)
    known = _USED | _TRAINING_ONLY | _MUST_BE_OFF
    for name in sorted(names):
        if name not in known and values[name] not in (None, False):
            raise CheckpointError(f"{file}: option {name} = {values[name]!r} is unknown here")
    dictionary_size = task.get("output_dictionary_size")
    if isinstance(dictionary_size, int) and dictionary_size > 0:
        raise CheckpointError(f"{file}: option output_dictionary_size is not supported")
    return options
