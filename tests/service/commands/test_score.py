"""`headfirst score` in this process: formats, options, alignment, errors."""

from __future__ import annotations

import csv
import gzip
import io
import lzma
import math
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle import Bundle
from models.text.vocabulary import Token
from service.contract.messages import Score, Scored
from service.offline.rows import SPACED_COLUMNS, TEXT_COLUMNS, WORD_COLUMNS, Csv, Tsv, table_rows
from service.offline.scorer import Scorer
from service.scoring.scored_text import ScoredText
from tests.support.commands import json_rows, refusal, run
from tests.support.engines import compute

SENTENCES = [
    "Thank you very much.",
    "the",
    'zzz said "NA", [the] #',
    "Thank you",
    "",
    "that was it for you and that is for the bin, with a bun. " * 9,
    " \t ",
    "of, and to in",
]
TEXT = "\n".join(SENTENCES)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "text.txt"
    path.write_text(TEXT)
    return path


def direct(bundle: Bundle, text: str, context: str = "", end: bool = True) -> list[float]:
    """Log-probabilities of a text's words by one call of the model."""
    ids = [tuple(token.id for token in bundle.vocabulary.tokenize(part)) for part in (context, text)]
    if not ids[1] and not end:
        return []
    answer = compute(bundle, Score("", ids[0], ids[1] + (bundle.vocabulary.end_id,) * end, None))
    assert isinstance(answer, Scored)
    return list(answer.logprobs)


def check_row(
    row: dict[str, Any], bundle: Bundle, text: str, logprobs: list[float], end: bool = True
) -> None:
    tokens = bundle.vocabulary.tokenize(text)
    surfaces = [token.surface for token in tokens] + ["</s>"] * end
    assert [word["word"] for word in row["words"]] == surfaces
    places = [(token.start, token.end) for token in tokens] + [(len(text), len(text))] * end
    assert [(word["start"], word["end"]) for word in row["words"]] == places
    assert [word.get("token", word["word"]) for word in row["words"]][: len(tokens)] == [
        token.word for token in tokens
    ]
    assert [word["logprob"] for word in row["words"]] == pytest.approx(logprobs, abs=1e-4)
    unknown = [token.id == bundle.vocabulary.unknown_id for token in tokens]
    assert [not word["known"] for word in row["words"]][: len(unknown)] == unknown
    assert row["word_count"] == len(surfaces)
    assert row["unknown_words"] == sum(unknown)
    if surfaces:
        assert row["logprob"] == pytest.approx(math.fsum(word["logprob"] for word in row["words"]), abs=1e-6)
        assert row["perplexity"] == pytest.approx(math.exp(-row["logprob"] / len(surfaces)))
    else:
        assert row["logprob"] is row["perplexity"] is None
    known = [word["logprob"] for word in row["words"] if word["known"]]
    if known:
        assert row["known_perplexity"] == pytest.approx(math.exp(-math.fsum(known) / len(known)))
    else:
        assert row["known_perplexity"] is None


def test_rows_are_the_direct_results_in_the_order_of_lines(
    bundle_path: Path, bundle: Bundle, file: Path
) -> None:
    rows = json_rows(run("score", file, "--model", bundle_path))
    assert len(rows) == len(SENTENCES)
    for row, text in zip(rows, SENTENCES, strict=True):
        check_row(row, bundle, text, direct(bundle, text))


@pytest.mark.parametrize("batch_tokens", [1, 16, 50])
def test_small_batches_and_steps_change_nothing(
    bundle_path: Path, bundle: Bundle, file: Path, batch_tokens: int
) -> None:
    rows = json_rows(run("score", file, "--model", bundle_path, "--batch-tokens", batch_tokens))
    for row, text in zip(rows, SENTENCES, strict=True):
        check_row(row, bundle, text, direct(bundle, text))


def test_a_long_line_is_scored_by_carried_state(bundle_path: Path, bundle: Bundle) -> None:
    text = "Thank you very much for that, it was a bun with bick. " * 200
    (row, other) = json_rows(run("score", "-", "--model", bundle_path, stdin=f"{text}\nthe".encode()))
    assert row["word_count"] == 14 * 200 + 1
    check_row(row, bundle, text, direct(bundle, text))
    check_row(other, bundle, "the", direct(bundle, "the"))


def test_context_and_end_of_sentence(bundle_path: Path, bundle: Bundle, file: Path) -> None:
    context = "I was in it. Thank"
    rows = json_rows(run("score", file, "--model", bundle_path, "--context", context, "--no-end-of-sentence"))
    for row, text in zip(rows, SENTENCES, strict=True):
        check_row(row, bundle, text, direct(bundle, text, context, end=False), end=False)


def test_a_long_context_is_read_by_carried_state(bundle_path: Path, bundle: Bundle) -> None:
    context = "that is a bun of bick " * 120
    (row,) = json_rows(run("score", "-", "--model", bundle_path, "--context", context, stdin=b"for you"))
    check_row(row, bundle, "for you", direct(bundle, "for you", context))


def test_without_words_the_rest_is_the_same(bundle_path: Path, file: Path) -> None:
    full = json_rows(run("score", file, "--model", bundle_path))
    short = json_rows(run("score", file, "--model", bundle_path, "--no-per-word"))
    assert short == [{key: value for key, value in row.items() if key != "words"} for row in full]


def test_rows_are_what_the_server_answers(bundle_path: Path, client: httpx.Client) -> None:
    rows = json_rows(run("score", "-", "--model", bundle_path, stdin=TEXT.encode()))
    answer = client.post("/v1/score", json={"inputs": SENTENCES}).raise_for_status().json()
    for row, result in zip(rows, answer["results"], strict=True):
        assert list(row) == list(result)
        assert row["logprob"] == pytest.approx(result["logprob"], abs=1e-4)
        for name in ("perplexity", "known_perplexity"):
            assert row[name] == pytest.approx(result[name], rel=1e-4)
        assert (row["word_count"], row["unknown_words"]) == (result["word_count"], result["unknown_words"])
        for word, other in zip(row["words"], result["words"], strict=True):
            assert list(word) == list(other)
            assert word == {**other, "logprob": pytest.approx(other["logprob"], abs=1e-4)}


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz"])
def test_compressed_files(bundle_path: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text.txt{suffix}"
    data = TEXT.encode()
    path.write_bytes({"": data, ".gz": gzip.compress(data), ".xz": lzma.compress(data)}[suffix])
    rows = json_rows(run("score", path, "--model", bundle_path))
    assert [row["word_count"] for row in rows] == [6, 2, 11, 3, 1, 145, 1, 6]


def test_tsv_a_row_a_line(bundle_path: Path, file: Path) -> None:
    result = run("score", file, "--model", bundle_path, "--format", "tsv", "--no-per-word")
    header, *rows = [line.split("\t") for line in result.stdout.removesuffix("\n").split("\n")]
    assert tuple(header) == TEXT_COLUMNS
    expected = json_rows(run("score", file, "--model", bundle_path, "--no-per-word"))
    assert len(rows) == len(SENTENCES)
    for number, (row, want) in enumerate(zip(rows, expected, strict=True), 1):
        assert int(row[0]) == number
        assert float(row[1]) == want["logprob"]
        assert row[2] == "NA" if want["perplexity"] is None else float(row[2]) == want["perplexity"]
        assert [int(row[3]), int(row[4])] == [want["word_count"], want["unknown_words"]]
        assert float(row[5]) == want["known_perplexity"]


@pytest.mark.parametrize("per_word", [True, False])
def test_csv_has_the_rows_of_tsv(bundle_path: Path, tmp_path: Path, per_word: bool) -> None:
    path = tmp_path / "quotes.txt"
    path.write_text('He said, "thank you", to me.\n\nThank you.\n')
    flag = "--per-word" if per_word else "--no-per-word"
    tables = []
    for name, options in (("tsv", {"delimiter": "\t", "quoting": csv.QUOTE_NONE}), ("csv", {"strict": True})):
        result = run("score", path, "--model", bundle_path, "--format", name, flag)
        assert result.exit_code == 0, result.stderr
        tables.append(list(csv.reader(io.StringIO(result.stdout), **options)))
    assert tables[0] == tables[1]
    assert not per_word or {",", '"'} <= {row[2] for row in tables[1]}


def test_csv_quotes_what_rfc_4180_asks_for_and_no_more() -> None:
    words = ["Thank", 'a"b', "c,d", '"', ",", "NA", "#", "'", "\u00e9\u4f60", "; "]
    tokens = [Token(at, word, 9, 12, word) for at, word in enumerate(words)]
    text = ScoredText("", tokens, [-0.5] * len(words), 3)
    quoted = ["Thank", '"a""b"', '"c,d"', '""""', '","', "NA", "#", "'", "\u00e9\u4f60", "; "]
    header, rows = table_rows(Csv, per_word=True)
    assert header == ",".join(WORD_COLUMNS) + "\n"
    assert rows(7, [text]) == "".join(
        f"7,{position},{word},-0.5,0.721348,{'false' if position == 4 else 'true'},9,12,{word}\n"
        for position, word in enumerate(quoted, 1)
    )
    tsv_header, tsv_rows = table_rows(Tsv, per_word=True)
    assert tsv_header == "\t".join(WORD_COLUMNS) + "\n"
    assert [row.split("\t")[2] for row in tsv_rows(7, [text]).splitlines()] == words


def test_a_word_that_would_break_a_tsv_row_is_an_error() -> None:
    _, rows = table_rows(Tsv, per_word=True)
    with pytest.raises(csv.Error):
        rows(1, [ScoredText("a\tb", [Token(1, "a\tb", 0, 3, "a\tb")], [-1.0], 0)])


def test_tsv_a_row_a_word(bundle_path: Path, file: Path) -> None:
    result = run("score", file, "--model", bundle_path, "--format", "tsv")
    reader = csv.reader(io.StringIO(result.stdout, newline=""), delimiter="\t", quoting=csv.QUOTE_NONE)
    header, *rows = reader
    assert tuple(header) == WORD_COLUMNS
    expected = [
        (line, position, word)
        for line, row in enumerate(json_rows(run("score", file, "--model", bundle_path)), 1)
        for position, word in enumerate(row["words"], 1)
    ]
    assert len(rows) == len(expected)
    for row, (line, position, word) in zip(rows, expected, strict=True):
        assert [int(row[0]), int(row[1]), row[2]] == [line, position, word["word"]]
        assert float(row[3]) == word["logprob"]
        assert float(row[4]) == pytest.approx(-word["logprob"] / math.log(2), abs=1e-6)
        assert row[5] == ("true" if word["known"] else "false")
        assert [int(row[6]), int(row[7]), row[8]] == [
            word["start"],
            word["end"],
            word.get("token", word["word"]),
        ]
    assert {"NA", '"', "#"} <= {row[2] for row in rows}


SPELLED = "He\u2019s a well-known man.\n\nthe quiz\rof the"


@pytest.mark.parametrize("name", ["tsv", "csv"])
def test_a_row_a_word_between_white_space(spelled_path: Path, name: str) -> None:
    options = ("--model", spelled_path, "--group", "space")
    table = run("score", "-", *options, "--format", name, stdin=SPELLED.encode()).stdout
    header, *rows = csv.reader(io.StringIO(table), delimiter={"tsv": "\t", "csv": ","}[name])
    assert tuple(header) == SPACED_COLUMNS
    listed = json_rows(run("score", "-", *options, stdin=SPELLED.encode()))
    expected = [
        [line, position, *(word[name] for name in ("word", "start", "end", "tokens", "unknown_words"))]
        for line, row in enumerate(listed, 1)
        for position, word in enumerate(row["words"], 1)
    ]
    assert [[int(row[0]), int(row[1]), row[2], *map(int, row[6:])] for row in rows] == expected
    assert [row[2] for row in rows][:6] == ["He\u2019s", "a", "well-known", "man.", "</s>", "</s>"]


def test_the_cost_of_unknown_words(spelled_path: Path) -> None:
    def total(*options: object) -> float:
        rows = json_rows(run("score", "-", "--model", spelled_path, *options, stdin=b"the frozen quiz"))
        assert rows[0]["unknown_words"] == 2
        found: float = rows[0]["logprob"]
        return found

    assert total() == total("--unknown", "spelled") < total("--unknown", "class")
    for options in (("--unknown-penalty", 2), ("--unknown", "class", "--unknown-penalty", 2)):
        assert total(*options) == pytest.approx(total("--unknown", "class") - 4, abs=1e-5)


def test_lines_within_a_text(spelled_path: Path) -> None:
    rows = json_rows(run("score", "-", "--model", spelled_path, "--lines", stdin=SPELLED.encode()))
    assert [[line["word_count"] for line in row["lines"]] for row in rows] == [[9], [1], [3, 3]]


def test_without_the_end_an_empty_line_has_no_numbers(bundle_path: Path) -> None:
    options = ("--model", bundle_path, "--no-end-of-sentence")
    (row,) = json_rows(run("score", "-", *options, stdin=b"\n"))
    assert row == {
        "logprob": None,
        "perplexity": None,
        "known_perplexity": None,
        "word_count": 0,
        "unknown_words": 0,
        "words": [],
    }
    table = run("score", "-", *options, "--format", "csv", "--no-per-word", stdin=b"\n").stdout
    assert table.splitlines()[1] == "1,NA,NA,0,0,NA"


# Everything that might break a table: control characters, every kind of space, what normalization rewrites.
TRICKY = st.text(
    st.sampled_from("a b zz the \t\r\x0b\x0c\x00\x1c\x1d\x1e\x1f\x85\u00a0\u00ad\u2028\u2029\u200b\ufeff")
    | st.sampled_from("\u2013\u2014\u2026\u201c\u2019-.'\"\u0301\u212b")
    | st.characters(exclude_categories=["Cs"], exclude_characters="\n")
)


@given(st.lists(TRICKY, min_size=1, max_size=6))
@settings(max_examples=150)
def test_no_word_breaks_a_tsv_row(bundle: Bundle, texts: list[str]) -> None:
    scored = Scorer(bundle).score(texts)
    _, rows = table_rows(Tsv, per_word=True)
    # Not only \n: readers of the table may end lines where str.splitlines does.
    lines = rows(1, scored).splitlines()
    words = [token.surface for text in scored for token in text.tokens]
    assert [line.split("\t")[2] for line in lines] == words
    assert all(line.count("\t") == 8 for line in lines)


@given(st.lists(TRICKY, max_size=12), st.booleans())
@settings(max_examples=25)
def test_one_row_for_each_line_whatever_it_holds(
    bundle_path: Path, bundle: Bundle, texts: list[str], ended: bool
) -> None:
    data = "\n".join(texts) + ("\n" if ended else "")
    lines = data.removesuffix("\n").split("\n") if data else []
    rows = json_rows(run("score", "-", "--model", bundle_path, stdin=data.encode()))
    assert len(rows) == len(lines)
    for row, line in zip(rows, lines, strict=True):
        check_row(row, bundle, line, direct(bundle, line))


def test_summary(bundle_path: Path, bundle: Bundle, file: Path) -> None:
    result = run("score", file, "--model", bundle_path)
    logprobs = [value for text in SENTENCES for value in direct(bundle, text)]
    tokens = [token for text in SENTENCES for token in bundle.vocabulary.tokenize(text)]
    unknown = sum(token.id == bundle.vocabulary.unknown_id for token in tokens) / len(tokens)
    *start, perplexity, share, speed = result.stderr.strip().split(", ")
    assert start == ["8 sentences (2 blank)", f"{len(logprobs)} words"]
    figure = float(perplexity.removeprefix("perplexity ").replace(",", ""))
    assert figure == pytest.approx(math.exp(-math.fsum(logprobs) / len(logprobs)), rel=1e-4)
    assert share == f"{unknown:.2%} unknown"
    assert speed.endswith(" words/s")


def test_an_empty_file_has_no_rows(bundle_path: Path) -> None:
    result = run("score", "-", "--model", bundle_path)
    assert json_rows(result) == []
    assert result.stderr == "0 sentences, no words\n"


def test_output_goes_to_a_file(bundle_path: Path, file: Path, tmp_path: Path) -> None:
    result = run("score", file, "--model", bundle_path, "--output", tmp_path / "rows.jsonl")
    assert result.stdout == ""
    assert (tmp_path / "rows.jsonl").read_text() == run("score", file, "--model", bundle_path).stdout


def test_the_input_is_never_the_output(bundle_path: Path, file: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(file)
    result = run("score", file, "--model", bundle_path, "--output", tmp_path / "link")
    assert refusal(result) == f"headfirst score: {tmp_path / 'link'} is the input, too"
    assert file.read_text() == TEXT


def test_lines_before_a_fault_are_scored(bundle_path: Path, bundle: Bundle) -> None:
    result = run("score", "-", "--model", bundle_path, stdin=b"Thank you\n\nan \xff or so\nthe\n")
    assert refusal(result) == (
        "headfirst score: standard input: line 3 is not valid UTF-8 (byte 4 of the line)"
    )
    assert result.stdout == run("score", "-", "--model", bundle_path, stdin=b"Thank you\n\n").stdout


def test_a_line_over_the_limit(bundle_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("the\n" + "a" * 11 + "\nthe\n")
    result = run("score", path, "--model", bundle_path, "--max-line-bytes", 10)
    assert refusal(result) == f"headfirst score: {path}: line 2 is longer than 10 bytes"
    assert result.stdout.count("\n") == 1
    assert run("score", path, "--model", bundle_path, "--max-line-bytes", 11).exit_code == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("missing.txt",), "missing.txt: No such file or directory"),
        ((".",), ".: Is a directory"),
        (("-", "--model", "missing"), "missing: no such directory"),
        (("-", "--device", "tpu"), "device 'tpu' is not one of auto, cpu, cuda, cuda:<i>"),
        (("-", "--output", "missing/rows"), "missing/rows: No such file or directory"),
        (("-", "--context", "\udcff"), "--context is not valid Unicode: lone surrogate at character 0"),
        (("-", "--context", "a", "--lines"), "Each line starts anew with lines: there can be no context."),
        (
            ("-", "--unknown", "spelled"),
            "This model has no spelling model: its unknown words have the class's probability.",
        ),
        (
            ("-", "--unknown", "spelled", "--unknown-penalty", "1"),
            "A penalty is subtracted from the class: it does not go with spelled words.",
        ),
    ],
)
def test_user_errors_are_one_line(
    bundle_path: Path, here: Path, arguments: tuple[str, ...], message: str
) -> None:
    model = () if "--model" in arguments else ("--model", bundle_path)
    assert refusal(run("score", *arguments, *model, stdin=b"the\n")) == f"headfirst score: {message}"


@pytest.mark.parametrize("suffix", [".gz", ".xz"])
def test_a_damaged_file(bundle_path: Path, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"text{suffix}"
    compress = gzip.compress if suffix == ".gz" else lzma.compress
    path.write_bytes(compress(TEXT.encode() * 50)[:-9])
    assert refusal(run("score", path, "--model", bundle_path)).startswith(
        f"headfirst score: {path}: cannot read it: "
    )
    path.write_bytes(b"plain text\n")
    assert refusal(run("score", path, "--model", bundle_path)).startswith(
        f"headfirst score: {path}: cannot read it: "
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk(bundle_path: Path, file: Path) -> None:
    result = run("score", file, "--model", bundle_path, "--output", "/dev/full")
    assert refusal(result) == "headfirst score: output: No space left on device"


@pytest.mark.parametrize("option", [("--batch-tokens", "0"), ("--format", "xml"), ("--threads", "0")])
def test_wrong_options_are_refused(bundle_path: Path, option: tuple[str, str]) -> None:
    result = run("score", "-", "--model", bundle_path, *option)
    assert result.exit_code == 2
    assert option[0] in result.stderr
