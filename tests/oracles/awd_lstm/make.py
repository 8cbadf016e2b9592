"""Makes tests/oracles/awd_lstm/data with awd-lstm-lm's own code, which is not part of this repository.

    git clone https://github.com/salesforce/awd-lstm-lm /tmp/awd && git -C /tmp/awd checkout 1d466ec
    python tests/oracles/awd_lstm/make.py /tmp/awd

Made once with torch 2.13.0 on a CPU. Each case is a directory as a user would have it: the ``.pt`` file that
``main.py --save`` writes, the vocabulary, and ``expected.safetensors``: ids (T,), the log-probabilities of
all words after each of them (T, V), and where there is at most one cluster the loss of the next words by the
original's ``forward`` (T - 1,): with more, it adds truth values, which torch has not counted since 1.2.
"""

from __future__ import annotations

import random
import shutil
import sys
from pathlib import Path

import torch
from safetensors.torch import save_file

HERE = Path(__file__).parent / "data"
REPOSITORY = sys.argv[1]
sys.path.insert(0, REPOSITORY)

import data  # noqa: E402
import model  # noqa: E402
from splitcross import SplitCrossEntropyLoss  # noqa: E402

WORDS = [f"w{i}" for i in range(120)] + ["<unk>", "@-@", ",", ".", "n't", "Thank", "you"]
CASES = {
    # name: tied, splits, weight dropout, corpus as its cache
    "tied": (True, [20, 50, 90], 0.5, True),
    "untied": (False, [30], 0.0, False),
    "plain": (True, [], 0.2, False),
}


def text(seed: int) -> str:
    chosen = random.Random(seed)
    words = WORDS * 2
    chosen.shuffle(words)
    return "".join(" ".join(words[i : i + 9]) + " \n" for i in range(0, len(words), 9))


def make(name: str, tied: bool, splits: list[int], wdrop: float, cached: bool) -> None:
    directory = HERE / name
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    texts = directory if not cached else directory / "texts"
    texts.mkdir(exist_ok=True)
    for part, seed in (("train", 1), ("valid", 2), ("test", 3)):
        (texts / f"{part}.txt").write_text(text(seed))
    corpus = data.Corpus(str(texts))
    if cached:
        torch.save(corpus, directory / "corpus.0123456789abcdef.data")
        shutil.rmtree(texts)
    torch.manual_seed(len(name))
    net = model.RNNModel("LSTM", len(corpus.dictionary), 12, 20, 3, wdrop=wdrop, tie_weights=tied)
    criterion = SplitCrossEntropyLoss(12 if tied else 20, splits)
    with torch.no_grad():
        for weight in [*net.parameters(), *criterion.parameters()]:
            weight.normal_(0, 0.5)
    net.eval()
    start = torch.tensor([corpus.dictionary.word2idx["<eos>"]])
    ids = torch.cat([start, corpus.test[:99]])
    with torch.no_grad():
        hidden, _ = net(ids[:, None], net.init_hidden(1))
        weight, bias = net.decoder.weight, net.decoder.bias
        if splits:
            logprobs = criterion.logprob(weight, bias, hidden)
        else:  # with one split, logprob() itself gives no word
            logprobs = torch.nn.functional.linear(hidden, weight, bias).log_softmax(-1)
        pairs = (
            [(hidden[i : i + 1], ids[i + 1 : i + 2]) for i in range(len(ids) - 1)] if splits[1:] == [] else []
        )
        losses = [criterion(weight, bias, row, target) for row, target in pairs]
    optimizer = torch.optim.SGD(net.parameters(), lr=30.0)
    with (directory / "model.pt").open("wb") as file:
        torch.save([net, criterion, optimizer], file)
    expected = {"ids": ids, "logprobs": logprobs.contiguous(), "losses": torch.tensor(losses)}
    save_file(expected, directory / "expected.safetensors")


for case, options in CASES.items():
    make(case, *options)
