"""The model that ships, on real hidden states: exact, sensible, and cheap."""

from __future__ import annotations

import math
import time

import pytest
import torch
from torch import Tensor

from models.bundle import DEFAULT, Bundle

pytestmark = pytest.mark.skipif(
    not (DEFAULT / "config.json").exists(), reason="models/default holds no config.json: no model ships yet"
)

SENTENCES = """
Thank you very much for your help.
I don't know what you mean, but I'm sure it's important.
The president of the United States spoke on Monday.
She looked at him and smiled.
"What are you doing here?" he asked.
In 1998, the company had 3,500 employees and a revenue of $1.2 million.
The river flows through three countries before it reaches the sea.
It was the first time that a woman had won the prize.
Let's go home; it's getting late.
The species was first described by Linnaeus in 1758.
He was born in London and studied at the University of Cambridge.
You can't be serious!
The temperature fell to -12 degrees, well below the average.
Mitochondrial ribonucleoprotein complexes were purified by centrifugation.
My mother - a well-known doctor - never talked about the war.
After the match, the coach said that his team had played badly.
Please open the window, will you?
Xylophones and zithers were played at the Tuvan festival.
They lived happily ever after.
Where is the nearest train station?
""".strip().splitlines()


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return Bundle.load(device="cpu")


@pytest.fixture(scope="module")
def words(bundle: Bundle) -> list[list[int]]:
    """Per sentence the start word, its words and the end word."""
    ids = bundle.vocabulary.encode_batch(SENTENCES)
    return [[bundle.vocabulary.end_id, *line, bundle.vocabulary.end_id] for line in ids]


@pytest.fixture(scope="module")
def hidden(bundle: Bundle, words: list[list[int]]) -> Tensor:
    """(N, d): the rows after every word of every sentence, in one batch of mixed lengths."""
    lengths = torch.tensor([len(line) - 1 for line in words])
    inputs = torch.nn.utils.rnn.pad_sequence([torch.tensor(line[:-1]) for line in words], batch_first=True)
    with torch.inference_mode():
        rows, _ = bundle.model.encode(inputs, lengths, bundle.model.initial_state(len(words)))
    return torch.cat([row[:length] for row, length in zip(rows, lengths.tolist(), strict=True)])


@pytest.fixture(scope="module")
def table(bundle: Bundle, hidden: Tensor) -> Tensor:
    """(N, V): every word's log-probability, by the reference."""
    with torch.inference_mode():
        return bundle.model.softmax.log_prob(hidden)


def hidden_after(bundle: Bundle, text: str) -> Tensor:
    ids = torch.tensor([[bundle.vocabulary.end_id, *bundle.vocabulary.encode_batch([text])[0]]])
    with torch.inference_mode():
        rows, _ = bundle.model.encode(ids, torch.tensor([ids.shape[1]]), bundle.model.initial_state(1))
    return rows[:, -1]


def next_words(bundle: Bundle, text: str, k: int, prefix: str | None = None) -> list[str]:
    allowed = None if prefix is None else [bundle.vocabulary.starting_with(prefix)]
    found = bundle.model.topk(hidden_after(bundle, text), k, allowed)
    return [bundle.vocabulary.word(i) for i in found.ids[0].tolist() if i >= 0]


def check(bundle: Bundle, table: Tensor, hidden: Tensor, k: int, allowed: list[Tensor] | None = None) -> None:
    """Top-k is brute force; words closer than the rounding of float32 logits may change places."""
    with torch.inference_mode():
        found = bundle.model.topk(hidden, k, allowed)
    for i, row in enumerate(table):
        may = torch.full_like(row, -math.inf)
        ids = torch.arange(len(row)) if allowed is None else allowed[i]
        may[ids] = row[ids]
        may[list(bundle.vocabulary.special_ids)] = -math.inf
        wanted, order = may.sort(descending=True, stable=True)
        n = min(k, int(may.isfinite().sum()))
        got = found.ids[i, :n]
        assert len(got.unique()) == n
        assert (found.ids[i, n:] == -1).all()
        torch.testing.assert_close(may[got], wanted[:n], atol=2e-5, rtol=0)
        torch.testing.assert_close(found.logprobs[i, :n], may[got], atol=2e-5, rtol=0)
        assert (found.logprobs[i, :n].diff() <= 0).all()
        if 1 < n <= 10:  # so near the top no two words are that close, but exact ties are rightly ordered
            clear = wanted[: n - 1] - wanted[1:n] > 2e-5
            assert (got[:-1] == order[: n - 1])[clear].all()


@pytest.mark.parametrize("k", [1, 10, 100, 1000])
def test_topk_is_brute_force(bundle: Bundle, hidden: Tensor, table: Tensor, k: int) -> None:
    step = max(4, k // 50)
    check(bundle, table[::step], hidden[::step], k)


def test_topk_of_the_whole_vocabulary(bundle: Bundle, hidden: Tensor, table: Tensor) -> None:
    check(bundle, table[5:8], hidden[5:8], len(bundle.vocabulary))


@pytest.mark.parametrize("prefix", ["m", "th", "xyl", "Z", "un", "qzq", "12"])
def test_topk_of_a_prefix_is_brute_force(bundle: Bundle, hidden: Tensor, table: Tensor, prefix: str) -> None:
    allowed = bundle.vocabulary.starting_with(prefix)
    every = len(hidden) // 8
    rows = hidden[::every]
    check(bundle, table[::every], rows, 10, [allowed] * len(rows))


def test_target_logprobs_is_the_module(
    bundle: Bundle, words: list[list[int]], hidden: Tensor, table: Tensor
) -> None:
    targets = torch.tensor([word for line in words for word in line[1:]])
    with torch.inference_mode():
        found = bundle.model.target_logprobs(hidden, targets)
    torch.testing.assert_close(found, table.gather(1, targets[:, None])[:, 0], atol=1e-5, rtol=0)
    # Words that occur here have every reason to be probable: better than 100,000 equal ones.
    assert found.mean() > -8


def test_probabilities_sum_to_one(table: Tensor) -> None:
    total = table.double().exp().sum(1)
    torch.testing.assert_close(total, torch.ones_like(total), atol=1e-4, rtol=0)


def test_it_speaks_english(bundle: Bundle) -> None:
    assert "much" in next_words(bundle, "Thank you very", 5)
    assert next_words(bundle, "Thank you very", 1, prefix="m") == ["much"]
    assert next_words(bundle, "Thank you very m", 5) != next_words(bundle, "Thank you very", 5)
    assert "States" in next_words(bundle, "The president of the United", 3)
    assert "you" in next_words(bundle, "How are", 5)


def test_few_clusters_open(bundle: Bundle, hidden: Tensor) -> None:
    """The point of it all: an exact top 10 scores a small part of the words."""
    config = bundle.config
    assert config.n_clusters >= 32
    sizes = torch.tensor(config.cutoffs).diff().float()
    with torch.inference_mode():
        expanded = {k: bundle.model.topk(hidden, k).expanded.float() for k in (1, 10)}
    scored = {k: float(config.cutoffs[0] + (rows @ sizes).mean()) for k, rows in expanded.items()}
    assert scored[1] < 0.08 * config.vocabulary_size
    assert scored[10] < 0.25 * config.vocabulary_size


def test_every_word_can_be_typed(bundle: Bundle) -> None:
    vocabulary = bundle.vocabulary
    hidden_words = {vocabulary.unknown_id, vocabulary.end_id}
    words = [vocabulary.word(i) for i in range(len(vocabulary))]
    found = vocabulary.encode_batch(words)
    assert [i for i, ids in enumerate(found) if ids != [i] and i not in hidden_words] == []


def test_its_tokenizer_takes_linear_time(bundle: Bundle) -> None:
    """The tokenizer.json of an older vocabulary.py would need 8 seconds: save it anew."""
    before = time.process_time()
    assert bundle.vocabulary.tokenize(" " * 30_000) == []
    assert time.process_time() - before < 2


def test_it_is_small_and_knows_many_words() -> None:
    size = sum(file.stat().st_size for file in DEFAULT.iterdir())
    assert size <= 25_000_000
    assert len(Bundle.load(device="cpu").vocabulary) >= 100_000
