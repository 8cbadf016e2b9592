"""Makes tests/oracles/word_language_model/data with the original code, which is not part of this repository.

    git clone https://github.com/pytorch/examples /tmp/ex && git -C /tmp/ex checkout 77f55b9
    git clone https://github.com/vansky/neural-complexity /tmp/nc && git -C /tmp/nc checkout 3c057f8
    git clone https://github.com/facebookresearch/colorlessgreenRNNs /tmp/cg
    git -C /tmp/cg checkout dbffbf0
    pip install dill
    python tests/oracles/word_language_model/make.py /tmp/ex /tmp/nc /tmp/cg

Made once with torch 2.13.0 on a CPU; ``torch-1.13.1-*`` after it, in an environment with that release, the
oldest for Python 3.11, by the same command with ``this_torch`` added. Each case is a directory as a user
would have it, with ``expected.safetensors``: ids (T,), from ``<eos>`` on, and the log-probabilities of all
words after each (T, V), by the original's ``forward`` from ``init_hidden``.

``torch-0.3`` and ``torch-1.0`` have the *form* of files of those releases, which cannot be installed any
more: the original's module, with the attributes that modules had then and without those that came later,
written by torch 2.13's own writer of the format of before 1.6, tensors and parameters reduced as they were
then. (0.3: ``_rebuild_tensor``, and ``Parameter(data)`` with the state (requires_grad, volatile, hooks); 1.0:
``_rebuild_tensor_v2`` and ``_rebuild_parameter``; both: ``_backend``, the THNN backend, and no
``_flat_weights``, ``proj_size``, ``_non_persistent_buffers_set``.)

``neural-complexity`` was trained by that project's own ``main.py``, its weights drawn anew so that
predictions are peaked; ``main.py`` then wrote ``words.txt`` (``--test --words``: each sentence from the
start) and ``stream.txt`` (the same with ``--multisentence_test``: states go on from sentence to sentence).
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import subprocess
import sys
import types
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent / "data"
EXAMPLES, COMPLEXITY, COLORLESS = map(Path, sys.argv[1:4])
WORDS = [f"w{i}" for i in range(40)] + ["<unk>", ",", ".", "n't", "Été", "you"]
CELLS = ("LSTM", "GRU", "RNN_TANH", "RNN_RELU")
EMBEDDING, UNITS, LENGTH = 6, 8, 30

LATER = {
    "_non_persistent_buffers_set", "_backward_pre_hooks", "_is_full_backward_hook", "_state_dict_hooks",
    "_forward_hooks_with_kwargs", "_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs",
    "_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks", "proj_size",
    "_flat_weights", "_flat_weights_names", "_flat_weight_refs", "ntoken",
}  # fmt: skip
"""Attributes of modules that releases of before 1.1 did not have."""


def load(path: Path, name: str) -> types.ModuleType:
    """A file of an original as the module `name`, by which its classes are pickled."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def text(seed: int, lines: int = 12) -> str:
    draw = random.Random(seed)
    return "".join(" ".join(draw.choices(WORDS, k=draw.randint(3, 9))) + "\n" for _ in range(lines))


def new_case(name: str) -> Path:
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    return directory


def example(cell: str, layers: int, tied: bool) -> torch.nn.Module:
    """PyTorch's example with large random weights."""
    module = load(EXAMPLES / "word_language_model" / "model.py", "model")
    vocabulary = len(WORDS) + 1
    net = module.RNNModel(cell, vocabulary, UNITS if tied else EMBEDDING, UNITS, layers, 0.5, tied)
    return redrawn(net, layers)


def redrawn(net: torch.nn.Module, seed: int) -> torch.nn.Module:
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, weight in net.named_parameters():
            weight.normal_(0, 0.35 if name.startswith("rnn") else 0.7)
    return net.eval()


def expect(directory: Path, net: torch.nn.Module, start: int) -> None:
    draw = random.Random(3)
    size = net.decoder.weight.shape[0]
    ids = torch.tensor([start, *draw.choices(range(size), k=LENGTH)])
    with torch.no_grad():
        output, _ = net(ids[:, None], net.init_hidden(1))
    # The example's forward has normalized already, its forks' have not; twice is once.
    logprobs = output.view(len(ids), size).log_softmax(-1).contiguous()
    save_file({"ids": ids, "logprobs": logprobs}, directory / "expected.safetensors")
    (directory / "expected.safetensors").chmod(0o644)


def cells() -> None:
    for cell in CELLS:
        for layers in (1, 2):
            for tied in (True, False):
                net = example(cell, layers, tied)
                directory = new_case(f"{cell.lower()}-{layers}-{'tied' if tied else 'untied'}")
                torch.save(net, directory / "model.pt")
                (directory / "vocab.txt").write_text("\n".join(["<eos>", *WORDS]) + "\n")
                expect(directory, net, 0)


def states() -> None:
    """State dictionaries, alone and in a dict with what tells an Elman network's function."""
    for cell in CELLS:
        net = example(cell, 2, False)
        directory = new_case(f"state-{cell.lower()}")
        state = net.state_dict()
        elman = cell.startswith("RNN")
        torch.save(
            {"rnn_type": cell, "state_dict": state, "epoch": 3} if elman else state, directory / "lm.pt"
        )
        (directory / "lm_vocab.txt").write_text("\n".join(["<eos>", *WORDS]).replace("<unk>", "<oov>"))
        expect(directory, net, 0)


def corpus() -> None:
    """The example's own numbering of words, from its texts."""
    directory = new_case("corpus")
    for seed, part in enumerate(("train", "valid", "test")):
        (directory / f"{part}.txt").write_text(text(seed))
    data = load(EXAMPLES / "word_language_model" / "data.py", "data")
    dictionary = data.Corpus(str(directory)).dictionary
    module = load(EXAMPLES / "word_language_model" / "model.py", "model")
    net = redrawn(module.RNNModel("LSTM", len(dictionary), UNITS, UNITS, 2, 0.2, True), 5)
    torch.save(net, directory / "model.pt")
    expect(directory, net, dictionary.word2idx["<eos>"])
    (directory / "words.txt").write_text("\n".join(dictionary.idx2word) + "\n")


def parallel() -> None:
    directory = new_case("data-parallel")
    net = example("GRU", 1, True)
    torch.save(torch.nn.DataParallel(net, dim=1), directory / "model.pt")
    (directory / "vocab.txt").write_text("\n".join(["<eos>", *WORDS]) + "\n")
    expect(directory, net, 0)


def transformer() -> None:
    """Which is refused."""
    directory = new_case("transformer")
    module = load(EXAMPLES / "word_language_model" / "model.py", "model")
    torch.save(module.TransformerModel(len(WORDS) + 1, 8, 2, 8, 1), directory / "model.pt")
    (directory / "vocab.txt").write_text("\n".join(["<eos>", *WORDS]) + "\n")


# -- as older releases wrote -----------------------------------------------------------------------


def thnn() -> None:
    """Stands for `torch.nn.backends.thnn`, whose function `_backend` of every module led to."""
    module = types.ModuleType("torch.nn.backends.thnn")
    sys.modules["torch.nn.backends"] = types.ModuleType("torch.nn.backends")
    sys.modules[module.__name__] = module

    def _get_thnn_function_backend() -> object: ...

    _get_thnn_function_backend.__module__ = module.__name__
    _get_thnn_function_backend.__qualname__ = "_get_thnn_function_backend"
    module._get_thnn_function_backend = _get_thnn_function_backend


class Backend:
    def __reduce__(self):
        return sys.modules["torch.nn.backends.thnn"]._get_thnn_function_backend, ()


@contextmanager
def reduced_as(version: str) -> Iterator[None]:
    """Tensors and parameters pickle as that release's did."""
    kept = torch.Tensor.__reduce_ex__, torch.nn.Parameter.__reduce_ex__, torch.nn.RNNBase.__getstate__
    sources = torch.serialization.get_source_lines_and_file
    # Beside each class that format keeps its source, which is its author's, and the path of its file.
    torch.serialization.get_source_lines_and_file = lambda made, *_: (
        [f"class {made.__name__}: ..."],
        0,
        "x.py",
    )
    torch.nn.RNNBase.__getstate__ = lambda self: vars(self)

    def parts(tensor):
        return tensor.storage(), tensor.storage_offset(), tuple(tensor.size()), tensor.stride()

    if version == "0.3":
        torch.Tensor.__reduce_ex__ = lambda self, _: (torch._utils._rebuild_tensor, parts(self))
        torch.nn.Parameter.__reduce_ex__ = lambda self, _: (
            torch.nn.Parameter,
            (self.data,),
            (self.requires_grad, False, OrderedDict()),
        )
    else:
        torch.Tensor.__reduce_ex__ = lambda self, _: (
            torch._utils._rebuild_tensor_v2,
            (*parts(self), self.requires_grad, OrderedDict()),
        )
        torch.nn.Parameter.__reduce_ex__ = lambda self, _: (
            torch._utils._rebuild_parameter,
            (self.data, self.requires_grad, OrderedDict()),
        )
    try:
        yield
    finally:
        torch.Tensor.__reduce_ex__, torch.nn.Parameter.__reduce_ex__, torch.nn.RNNBase.__getstate__ = kept
        torch.serialization.get_source_lines_and_file = sources


def aged(net: torch.nn.Module) -> torch.nn.Module:
    for module in net.modules():
        for name in LATER & vars(module).keys():
            del vars(module)[name]
        vars(module)["_backend"] = Backend()
        if isinstance(module, torch.nn.RNNBase):
            vars(module).update({"dropout_state": {}, "_data_ptrs": []})
    return net


def colorless() -> None:
    """Gulordava's model as its authors' torch wrote it, the vocabulary as their script writes one."""
    module = load(COLORLESS / "src" / "language_models" / "model.py", "model")
    thnn()
    for version in ("0.3", "1.0"):
        net = redrawn(module.RNNModel("LSTM", len(WORDS) + 1, UNITS, UNITS, 2, 0.2, True), 9)
        directory = new_case(f"torch-{version}")
        expect(directory, net, len(WORDS))
        if version == "0.3":
            del net.rnn_type, net.nhid, net.nlayers
        with reduced_as(version):
            file = directory / "hidden650_batch128_dropout0.2_lr20.0.pt"
            torch.save(aged(net), file, _use_new_zipfile_serialization=False)
        (directory / "vocab.txt").write_text("\n".join([*WORDS, "<eos>"]))


# -- neural-complexity itself ----------------------------------------------------------------------


def complexity() -> None:
    directory = new_case("neural-complexity")
    place = HERE / "work"
    place.mkdir()
    for seed, part in enumerate(("train", "valid")):
        (place / f"{part}.txt").write_text(text(seed, 60))
    stimuli = text(7, 5).splitlines()
    stimuli[2] = f"never seen {stimuli[2]}"
    (directory / "stimuli.txt").write_text("\n".join(stimuli) + "\n")
    shutil.copy(directory / "stimuli.txt", place / "test.txt")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [
                sys.executable, "-W", "ignore", str(COMPLEXITY / "main.py"), "--data_dir", str(place),
                "--model_file", str(directory / "model.pt"), "--vocab_file", *arguments,
            ],
            check=True, stdout=subprocess.PIPE, text=True, cwd=place,
            # Its `torch.load` is of the time when that unpickled everything.
            env={**os.environ, "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD": "1"},
        )  # fmt: skip
        return done.stdout

    words = str(directory / "vocab.txt")
    sizes = "--model LSTM --emsize 8 --nhid 8 --nlayers 2 --tied --epochs 1 --batch_size 4 --bptt 10 --lr 5"
    run(words, *sizes.split())
    load(COMPLEXITY / "model.py", "model")
    net = redrawn(torch.load(directory / "model.pt", weights_only=False), 4)
    torch.save(net, directory / "model.pt")
    for name, more in (("words", ()), ("stream", ("--multisentence_test",))):
        (directory / f"{name}.txt").write_text(run(words, "--test", "--words", "--nopp", *more))
    lines = (directory / "vocab.txt").read_text().splitlines()
    expect(directory, net, lines.index("<eos>"))

    # The same with its binary vocabulary, which dill writes.
    other = new_case("neural-complexity-bin")
    data = load(COMPLEXITY / "data.py", "data")
    found = data.SentenceCorpus(str(place), str(directory / "vocab.txt"), interact_flag=True)
    found.save_dict(str(other / "vocab.bin"))
    for name in ("model.pt", "expected.safetensors"):
        shutil.copy(directory / name, other)
    shutil.rmtree(place)


def this_torch() -> None:
    """A module pickled by the torch that runs this."""
    version = torch.__version__.split("+")[0]
    for cell in ("LSTM", "RNN_TANH"):
        net = example(cell, 2, True)
        directory = new_case(f"torch-{version}-{cell.lower()}")
        torch.save(net, directory / "model.pt")
        (directory / "vocab.txt").write_text("\n".join(["<eos>", *WORDS]) + "\n")
        expect(directory, net, 0)


STEPS = (cells, states, corpus, parallel, transformer, colorless, complexity)

if __name__ == "__main__":
    named = {step.__name__: step for step in (*STEPS, this_torch)}
    for step in [named[name] for name in sys.argv[4:]] or STEPS:
        step()
