"""What is wrong with a fairseq checkpoint is told in one line; nothing wrong is served, no option ignored."""

from __future__ import annotations

import argparse
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from models.config.bodies import ConvolutionLayer
from models.importers import convert
from models.importers.base import CheckpointError
from models.importers.fairseq.convolution import MAX_LAYERS
from models.importers.pickles.checkpoint import load
from tests.support.fairseq_models import DATA

Change = Callable[[dict[str, Any]], object]


def copied(case: str, folder: Path) -> Path:
    shutil.copytree(DATA / case, folder / case)
    return folder / case


def fault(source: Path) -> str:
    """The one line that converting `source` ends with."""
    with pytest.raises(CheckpointError) as caught:
        convert("fairseq", source).model()
    message = str(caught.value)
    assert "\n" not in message
    assert len(message) < 400
    return message


def changed(case: str, folder: Path, change: Callable[[dict[str, Any]], object]) -> Path:
    """A copy of the case whose checkpoint has been changed."""
    source = copied(case, folder)
    (file,) = source.glob("*.pt")
    state = load(file)
    state["model"] = {name: tensor.clone() for name, tensor in state["model"].items()}
    change(state)
    file.unlink()
    torch.save(state, file)
    return source


def option(**values: object) -> Change:
    """Sets options of the model, wherever the form has them."""

    def change(state: dict[str, Any]) -> None:
        options = state["args"] if state.get("args") is not None else state["cfg"]["model"]
        (vars(options) if isinstance(options, argparse.Namespace) else options).update(values)

    return change


def weight(name: str, value: Callable[[Tensor], Tensor] | None) -> Change:
    """Changes a weight, or takes it away."""

    def change(state: dict[str, Any]) -> None:
        if value is None:
            del state["model"][name]
        else:
            state["model"][name] = value(state["model"].get(name, torch.ones(3)))

    return change


@pytest.mark.parametrize(
    ("case", "change", "message"),
    [
        ("new-wiki103", option(character_embeddings=True), "option character_embeddings is True"),
        ("new-wiki103", option(scale_heads=True), "option scale_heads is True"),
        ("new-wiki103", option(scale_fc=True), "option scale_fc"),
        ("new-wiki103", option(scale_attn=True), "option scale_attn"),
        ("new-wiki103", option(scale_resids=True), "option scale_resids"),
        ("new-wiki103", option(base_layers=1), "option base_layers is 1"),
        ("new-wiki103", option(decoder_layers_to_keep="0"), "option decoder_layers_to_keep is '0'"),
        ("new-wiki103", option(quant_noise_scalar=0.5), "option quant_noise_scalar is 0.5"),
        ("new-wiki103", option(decoder_xformers_att_config="{}"), "option decoder_xformers_att_config"),
        ("new-gpt", option(quant_noise_pq=0.1), "option quant_noise_pq is 0.1"),
        ("new-wiki103", option(activation_fn="swish"), "option activation_fn is 'swish'"),
        ("new-wiki103", option(frobnicate=2), "option frobnicate = 2 is unknown here"),
        ("old-2019", option(decoder_rotary=True), "option decoder_rotary = True is unknown here"),
        ("old-2019", option(scale_heads=True), "option scale_heads is True"),
        ("old-2019", option(self_target=True), "option self_target is True"),
        ("old-2019", option(task="masked_lm"), "its task is 'masked_lm'"),
        ("old-2019", option(output_dictionary_size=40), "output_dictionary_size is not supported"),
        ("new-wiki103", option(decoder_attention_heads=3), "decoder_attention_heads is 3, of 16 units"),
        ("new-wiki103", option(decoder_attention_heads=None), "decoder_attention_heads is None"),
        ("new-wiki103", option(decoder_attention_heads="2"), "is '2', not a positive number"),
        ("new-wiki103", option(decoder_layers=3), "option decoder_layers is 3, its weights show 2"),
        ("new-wiki103", option(decoder_embed_dim=32), "decoder_embed_dim is 32, its weights show 16"),
        ("new-wiki103", option(decoder_ffn_embed_dim=32), "its weights show 24"),
        ("new-wiki103", option(no_scale_embedding="yes"), "is 'yes', not true or false"),
        ("new-wiki103", option(adaptive_input=False), "weight decoder.embed_tokens.weight is missing"),
        ("new-gpt", option(adaptive_input=True), "its weights have no adaptive input"),
        ("new-wiki103", option(tie_adaptive_weights=False), "tie_adaptive_weights does not fit"),
        ("new-wiki103", option(tie_adaptive_proj=False), "tail.0.0.weight has shape [16, 8]"),
        ("new-wiki103", option(no_decoder_final_norm=False), "decoder.layer_norm.weight is missing"),
        ("new-plain", option(no_decoder_final_norm=True), "unknown weight decoder.layer_norm.bias"),
        ("new-plain", option(adaptive_softmax_cutoff="20"), "its weights have no adaptive softmax"),
        ("new-wiki103", option(_name="transformer_wmt_en_de"), "is not transformer_lm or fconv_lm"),
        ("new-wiki103", option(_name=None), "does not name its architecture"),
        ("new-post-norm", option(max_target_positions=17), "embed_positions.weight has shape [18, 16]"),
        ("new-post-norm", option(decoder_learned_pos=False), "unknown weight decoder.embed_positions.weight"),
        ("new-post-norm", option(layernorm_embedding=False), "unknown weight decoder.layernorm_embedding"),
        (
            "new-wiki103",
            weight("decoder.layers.1.fc1.weight", None),
            "decoder.layers.1.fc1.weight is missing",
        ),
        (
            "new-wiki103",
            weight("decoder.layers.1.fc1.bias", lambda w: w[1:]),
            "has shape [23], expected [24]",
        ),
        (
            "new-wiki103",
            weight("decoder.layers.1.c_attn", lambda w: w),
            "unknown weight decoder.layers.1.c_attn",
        ),
        ("new-wiki103", weight("decoder.version", lambda w: w - 1), ""),
        ("new-plain", weight("decoder.version", lambda w: w - 1), "unknown weight decoder.layer_norm.bias"),
        (
            "new-wiki103",
            weight("decoder.adaptive_softmax.tail.1.2.weight", lambda w: w + 1),
            "tail.1.2.weight is tied to the input's but differs",
        ),
        (
            "new-wiki103",
            weight("decoder.adaptive_softmax.tail.1.0.weight", lambda w: w + 1),
            "tail.1.0.weight is tied to the input's but differs",
        ),
        (
            "new-wiki103",
            weight("decoder.adaptive_softmax.head.word_proj.weight", lambda w: w[:-1]),
            "head.word_proj.weight is tied to the input's but differs",
        ),
        (
            "new-wiki103",
            weight("decoder.adaptive_softmax.head.class_proj.weight", lambda w: w[:, :15]),
            "head.word_proj.weight has 16 columns, not 15",
        ),
        (
            "new-tied-weights",
            weight("decoder.adaptive_softmax.head.class_proj.weight", lambda w: w[:2]),
            "72 words are read, 48 are predicted",
        ),
        (
            "new-plain",
            weight("decoder.output_projection.weight", lambda w: w[:, :15]),
            "the output layer reads 15 dimensions, the last layer has 16",
        ),
        (
            "new-gpt",
            weight("decoder.output_projection.weight", lambda w: w * 2),
            "output_projection.weight is tied to the input's but differs",
        ),
        (
            "new-untied",
            weight("decoder.adaptive_softmax.tail.2.2.weight", lambda w: w[:-1]),
            "72 words are read, 71 are predicted",
        ),
        (
            "new-wiki103",
            weight("decoder.layers.0.fc1.weight", lambda w: w * torch.inf),
            "body.layers.0.inner.weight holds values that are not finite",
        ),
        ("fconv-adaptive", option(decoder_attention="True"), "option decoder_attention is 'True'"),
        ("fconv-adaptive", option(decoder_layers="[(16, 3)]"), "reads 24 dimensions, the last layer has 16"),
        ("fconv-adaptive", option(decoder_embed_dim=13), "decoder_embed_dim is 13, its weights show 12"),
        (
            "fconv-adaptive",
            weight("decoder.convolutions.1.weight_g", lambda w: w[:, :, :5]),
            "weight_g has shape [1, 1, 5]",
        ),
        (
            "new-wiki103",
            weight("decoder.layers.999999999.fc1.bias", lambda w: w),
            "names weights of layer 999999999",
        ),
        ("new-wiki103", option(max_target_positions=10**9), "Input should be less than or equal to 1000000"),
        ("new-wiki103", option(adaptive_softmax_factor=1e300), ""),
        ("new-wiki103", option(activation_fn=["relu"]), "option activation_fn is ['relu']"),
        ("new-wiki103", lambda state: state.pop("model"), "has no weights decoder.layers.0"),
        ("new-wiki103", lambda state: state.update(cfg=None), "holds neither args nor cfg"),
        ("new-wiki103", lambda state: state["cfg"]["task"].update(past_target=True), "past_target is True"),
        (
            "new-wiki103",
            lambda state: state["cfg"]["task"].update(_name="multilingual_language_modeling"),
            "its task is 'multilingual_language_modeling'",
        ),
    ],
)
def test_options_and_weights(case: str, change: Change, message: str, tmp_path: Path) -> None:
    source = changed(case, tmp_path, change)
    if message:
        assert message in fault(source)
    else:
        convert("fairseq", source).model()


@pytest.mark.parametrize("case", ["new-wiki103", "old-2019", "fconv-plain"])
def test_another_models_dictionary(case: str, tmp_path: Path) -> None:
    source = copied(case, tmp_path)
    with (source / "dict.txt").open("a") as file:
        file.write("one 1\n")
    assert "makes 73 words" in fault(source)
    assert "has 72: it is another model's dictionary" in fault(source)


def test_files_that_are_not_there(tmp_path: Path) -> None:
    source = copied("new-wiki103", tmp_path)
    (source / "dict.txt").unlink()
    assert "dict.txt: no such file" in fault(source)
    (source / "model.pt").unlink()
    assert "no file is called model.pt" in fault(source)
    (source / "a.pt").touch()
    (source / "b.pt").touch()
    assert "2 files end in .pt" in fault(source)
    assert "no such file or directory" in fault(tmp_path / "nowhere")


def test_a_checkpoint_of_any_name(tmp_path: Path) -> None:
    source = copied("old-2019", tmp_path)
    file = (source / "checkpoint_best.pt").rename(source / "wiki.pt")
    assert convert("fairseq", source).files[0] == file
    assert convert("fairseq", file).files == (file, source / "dict.txt")


@pytest.mark.parametrize("keep", [0, 10, 3000, -40])
@pytest.mark.parametrize("case", ["new-wiki103", "old-2018"])
def test_truncated_files(case: str, keep: int, tmp_path: Path) -> None:
    source = copied(case, tmp_path)
    (file,) = source.glob("*.pt")
    data = file.read_bytes()
    file.write_bytes(data[:keep])
    assert str(file) in fault(source)


# -- the expression ------------------------------------------------------------------------------------------


def layers_of(text: object, tmp_path: Path) -> str:
    return fault(changed("fconv-plain", tmp_path, option(decoder_layers=text)))


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "[(16, 4)] * len('ab')",
        "[(16, 4) for _ in range(2)]",
        "[(16, 4)] ** 2",
        "[(16, 4)] * True",
        "[(16, 4)] * -1",
        "[(16, 4)] * 10**9",
        "[(16, 4)] * 1000 * 1000 * 1000",
        f"[(16, 4)] * {MAX_LAYERS + 1}",
        "[(16, 4)] + [3]",
        "[16, 4]",
        "[(16,)]",
        "[(16, 4, 1, 1)]",
        "[(16, '4')]",
        "[(16, 0)]",
        "[(16, 4, 2)]",
        "[]",
        "[(16, 4)",
        "",
        None,
        7,
        "(" * 5000,
        "-" * 9000 + "1",
        "[(16, 4)] + " * 900 + "[(16, 4)]",
        "\0",
    ],
)
def test_what_is_no_list_of_layers(text: object, tmp_path: Path) -> None:
    assert "option decoder_layers is" in layers_of(text, tmp_path)


def test_the_published_expressions() -> None:
    from models.importers.fairseq.convolution import _layers
    from models.importers.fairseq.options import FairseqOptions

    def parsed(text: str) -> list[ConvolutionLayer]:
        return _layers(FairseqOptions("fconv_lm", {"decoder_layers": text}, Path("x")))

    wikitext = (
        "[(850, 6)] * 3 + [(850, 1)] * 1 + [(850, 5)] * 4 + [(850, 1)] * 1 + [(850, 4)] * 3"
        " + [(1024, 4)] * 1 + [(2048, 4)] * 1"
    )
    assert len(parsed(wikitext)) == 14
    assert sum(layer.kernel - 1 for layer in parsed(wikitext)) == 46
    news = (
        "[(512, 5)] + [(128, 1, 0), (128, 5, 0), (512, 1, 3)] * 3"
        " + 3 * [(512, 1, 0), (512, 5, 0), (1024, 1, 3)]"
    )
    assert [layer.residual for layer in parsed(news)] == [1, *(0, 0, 3) * 6]
