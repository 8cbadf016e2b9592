"""Anyone's own model: imported, it answers as torch's own modules do."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from models.bundle import Bundle
from models.importers import convert
from models.importers.base import CheckpointError

V, D = 90, 64
WORDS = ["<unk>", "<eos>", *(f"w{i}" for i in range(V - 2))]


class Net(nn.Module):
    """What people write, in its variants."""

    def __init__(self, case: Case) -> None:
        super().__init__()
        self.embedding = nn.Embedding(V, case.embedding)
        self.lstm = nn.LSTM(
            case.embedding, case.units, case.layers, bias=case.bias, proj_size=case.projection
        )
        width = case.projection or case.units
        self.output = nn.Linear(width, case.hidden, bias=case.bias) if case.output else nn.Identity()
        self.softmax = nn.AdaptiveLogSoftmaxWithLoss(
            case.hidden, V, case.cutoffs, case.factor, head_bias=case.bias
        )

    def forward(self, ids: Tensor) -> Tensor:
        """(T, V) log-probabilities of what follows each of `ids` (T,)."""
        hidden, _ = self.lstm(self.embedding(ids))
        return self.softmax.log_prob(self.output(hidden))


@dataclass(frozen=True)
class Case:
    cutoffs: list[int]
    factor: float = 4.0
    bias: bool = True
    layers: int = 1
    units: int = 24
    projection: int = 0
    output: bool = True
    embedding: int = 8
    hidden: int = D


CASES = {
    "one tail, factor 1": Case([40], 1.0),
    "one tail, factor 4": Case([40], 4.0, bias=False),
    "three tails, factor 2": Case([10, 30, 60], 2.0, layers=2),
    "three tails, factor 4, no biases": Case([10, 30, 60], 4.0, bias=False, layers=3),
    # 32 // 4 ** 3: torch makes a cluster whose words have no vectors, and are equally likely.
    "three tails, the last of width 0": Case([10, 30, 60], 4.0, hidden=32),
    "two tails of width 0, no biases": Case([10, 30, 60], 16.0, bias=False, hidden=32),
    "no map after the LSTM": Case([20, 50], units=D, output=False),
    "projection": Case([20, 50], units=70, projection=D, output=False, layers=2),
    "a map that changes no size": Case([20, 50], units=D, bias=False),
    "embedding as wide as the hidden row": Case([20, 50], embedding=D),
}


def description(case: Case, **words: Any) -> str:
    """The TOML file."""
    output = 'output = "output"\n' if case.output else ""
    return (
        '[files]\nweights = "model.pt"\nvocabulary = "words.txt"\n'
        f'[modules]\nembedding = "embedding"\nlstm = "lstm"\nsoftmax = "softmax"\n{output}'
        '[words]\nend = "<eos>"\n' + "".join(f"{key} = {json.dumps(value)}\n" for key, value in words.items())
    )


def write(path: Path, case: Case, net: Net | None = None) -> Net:
    """A directory as a user has it; returns the model in it."""
    if net is None:
        torch.manual_seed(5)
        with torch.no_grad(), warnings.catch_warnings():
            warnings.filterwarnings(
                "ignore", "Initializing zero-element tensors"
            )  # torch says so, of width 0
            net = Net(case).eval()
            for weight in net.parameters():
                weight.normal_(0, 1.2 * max(1, weight.shape[-1]) ** -0.5)
    path.mkdir(parents=True, exist_ok=True)
    torch.save(net.state_dict(), path / "model.pt")
    (path / "words.txt").write_text("\n".join(WORDS) + "\n")
    (path / "model.toml").write_text(description(case))
    return net


def imported(path: Path) -> Bundle:
    converted = convert("torch-adaptive", path)
    out = path.with_name(f"{path.name}.bundle")
    Bundle.save(out, converted.model(), converted.vocabulary, dtype=torch.float32)
    return Bundle.load(out, "cpu")


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_answers_are_torchs_own(tmp_path: Path, case: Case) -> None:
    net = write(tmp_path / "model", case)
    model = imported(tmp_path / "model").model
    ids = torch.randint(0, V, (3, 17), generator=torch.Generator().manual_seed(2))
    lengths = torch.tensor([17, 1, 9])
    with torch.inference_mode():
        hidden, _ = model.encode(ids, lengths, model.initial_state(3))
        for row, length, states in zip(ids, lengths.tolist(), hidden, strict=True):
            want = net(row[:length])
            got = states[:length]
            torch.testing.assert_close(model.softmax.log_prob(got), want, atol=1e-4, rtol=0)
            targets = row[:length].roll(-1)
            scores = model.target_logprobs(got, targets)
            torch.testing.assert_close(scores, want.gather(1, targets[:, None])[:, 0], atol=1e-4, rtol=0)
            best = model.topk(got, 7)
            allowed = want.clone()
            allowed[:, 0] = -torch.inf
            torch.testing.assert_close(best.logprobs, allowed.topk(7).values, atol=1e-4, rtol=0)
            torch.testing.assert_close(best.logprobs, want.gather(1, best.ids), atol=1e-4, rtol=0)


def test_the_words_tell_start_and_specials(tmp_path: Path) -> None:
    case = CASES["one tail, factor 4"]
    write(tmp_path / "model", case)
    words = description(case, unknown="w3", start="w7", special=["w8", "w9"], embedding_scale=2.0)
    text = words.replace("embedding_scale = 2.0\n", "[sizes]\nembedding_scale = 2.0\n")
    (tmp_path / "model" / "model.toml").write_text(text)
    bundle = imported(tmp_path / "model")
    vocabulary = bundle.vocabulary
    assert (vocabulary.word(vocabulary.start_id), vocabulary.word(vocabulary.unknown_id)) == ("w7", "w3")
    assert {vocabulary.word(i) for i in vocabulary.special_ids} == {"w3", "w7", "w8", "w9"}
    assert vocabulary.encode_batch(["w1 w9 nothing"]) == [[3, 11, 5]]
    assert bundle.config.embedding_scale == 2.0
    best = bundle.model.topk(torch.zeros(1, D), V).ids[0]
    assert not set(best.tolist()) & vocabulary.special_ids


def test_files_of_other_forms(tmp_path: Path) -> None:
    """Weights in two files, one of them safetensors, one with its state below a key; words as JSON."""
    case, path = CASES["one tail, factor 4"], tmp_path / "model"
    net = write(path, case)
    state = net.state_dict()
    softmax = {name: state.pop(name).contiguous() for name in list(state) if name.startswith("softmax")}
    save_file(softmax, path / "softmax.safetensors")
    state["criterion.scale"] = torch.ones(1)
    torch.save({"module." + name: value for name, value in state.items()}, path / "model.pt")
    (path / "words.json").write_text(json.dumps(WORDS))
    (path / "model.toml").write_text(
        '[files]\nweights = ["model.pt", "softmax.safetensors"]\nvocabulary = "words.json"\n'
        '[modules]\nembedding = "module.embedding"\nlstm = ["module.lstm"]\nsoftmax = "softmax"\n'
        'output = "module.output"\nignore = ["module.criterion.*"]\n'
        '[words]\nend = "<eos>"\n[sizes]\nvocabulary = 90\ncutoffs = [40]\nunits = 24\nlayers = 1\n'
    )
    converted = convert("torch-adaptive", path / "model.toml")
    assert {file.name for file in converted.files} == {
        "model.toml",
        "model.pt",
        "softmax.safetensors",
        "words.json",
    }
    torch.testing.assert_close(converted.weights["softmax.head"], net.softmax.head.weight.data)


def edit(name: str, before: str, after: str) -> Callable[[Path], object]:
    def change(path: Path) -> None:
        text = (path / name).read_text()
        assert before in text
        (path / name).write_text(text.replace(before, after))

    return change


def state(change: Callable[[dict[str, Tensor]], object]) -> Callable[[Path], object]:
    def save(path: Path) -> None:
        weights = torch.load(path / "model.pt")
        change(weights)
        torch.save(weights, path / "model.pt")

    return save


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no TOML": (lambda p: (p / "model.toml").unlink(), "holds 0 TOML files"),
    "not TOML": (lambda p: (p / "model.toml").write_text("[files"), "model.toml: "),
    "no such field": (
        edit("model.toml", "vocabulary =", "dictionary ="),
        r"files\.vocabulary: Field required",
    ),
    "a file elsewhere": (
        edit("model.toml", "words.txt", "../words.txt"),
        r"\.\./words\.txt is not beside it",
    ),
    "no such file": (edit("model.toml", "model.pt", "other.pt"), "other.pt: no such file"),
    "a word less": (
        edit("words.txt", "w87\n", ""),
        r"embedding\.weight has shape \[90, 8\], expected \[89, any\]",
    ),
    "a word twice": (edit("words.txt", "w87\n", "w86\n"), "'w86', is word 89, too"),
    "an empty word": (edit("words.txt", "w86\n", "\n"), "word 89 is empty"),
    "no end": (edit("words.txt", "<eos>", "<end>"), "vocabulary has no '<eos>'"),
    "renamed": (
        state(lambda w: w.update({"lstm.weight": w.pop("lstm.weight_hh_l0")})),
        r"weight lstm\.weight_hh_l0 is missing",
    ),
    "left over": (state(lambda w: w.update({"norm.weight": torch.ones(3)})), "unknown weight norm.weight"),
    "a layer of another size": (
        state(lambda w: w.update({"lstm.weight_hh_l0": torch.ones(96, 23)})),
        r"lstm\.weight_hh_l0 has shape \[96, 23\], expected \[96, 24\]",
    ),
    "both directions": (
        state(lambda w: w.update({"lstm.weight_ih_l0_reverse": torch.ones(96, 8)})),
        "reads both ways",
    ),
    "a GRU": (
        state(lambda w: w.update({"lstm.weight_ih_l0": torch.ones(90, 8)})),
        "has 90 rows, not four an LSTM unit",
    ),
    "integers": (
        state(lambda w: w.update({"softmax.head.weight": torch.ones(41, 64, dtype=torch.int64)})),
        "softmax.head.weight is not a floating-point tensor",
    ),
    "other cutoffs": (
        edit("model.toml", "[words]", "[sizes]\ncutoffs = [30]\n[words]"),
        r"sizes\.cutoffs is \[30\], the weights have \[40\]",
    ),
    "other units": (
        edit("model.toml", "[words]", "[sizes]\nunits = 9\n[words]"),
        r"sizes\.units is 9",
    ),
    "wrong softmax": (edit("model.toml", '"softmax"', '"soft"'), r"weight soft\.head\.weight is missing"),
    "no state": (lambda p: torch.save([1], p / "model.pt"), "holds no state dictionary"),
}


@pytest.mark.parametrize(("break_it", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_fault_is_told_in_one_line(
    tmp_path: Path, break_it: Callable[[Path], object], message: str
) -> None:
    write(tmp_path / "model", CASES["one tail, factor 4"])
    break_it(tmp_path / "model")
    with pytest.raises(CheckpointError, match=message) as raised:
        convert("torch-adaptive", tmp_path / "model")
    assert "\n" not in str(raised.value)


def test_what_is_not_finite_is_refused(tmp_path: Path) -> None:
    write(tmp_path / "model", CASES["one tail, factor 4"])
    state(lambda w: w["softmax.head.weight"].fill_(torch.nan))(tmp_path / "model")
    with pytest.raises(CheckpointError, match=r"softmax\.head holds values that are not finite"):
        convert("torch-adaptive", tmp_path / "model").model()
