"""`headfirst score --input`: columns, bad rows, formats, refusals."""

from __future__ import annotations

import gzip
import json
import math
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import service.offline.bulk.parquet  # noqa: F401
from tests.support.commands import json_rows, refusal, run

TEXTS: list[object] = [
    "Thank you very much.",
    None,
    "the bin and zzz",
    "",
    "that was it for you and that is for the bin, with a bun. " * 9,
    " \t ",
    "of, and to in",
]
FIELDS = ["logprob", "perplexity", "known_perplexity", "word_count", "unknown_words"]


def expected(bundle_path: Path, texts: list[object]) -> list[dict[str, Any]]:
    """What `headfirst score FILE` says of each text; nulls for what is none."""
    found = [text for text in texts if isinstance(text, str)]
    answers = iter(json_rows(run("score", "-", "--model", bundle_path, stdin="\n".join(found).encode())))
    nothing = dict.fromkeys([*FIELDS, "words"])
    return [next(answers) if isinstance(text, str) else nothing for text in texts]


def same(found: dict[str, Any], wanted: dict[str, Any], names: list[str]) -> bool:
    return all(
        found[name]
        == (pytest.approx(wanted[name], abs=2e-5) if isinstance(wanted[name], float) else wanted[name])
        for name in names
    )


def write_jsonl(path: Path, texts: list[object]) -> Path:
    path.write_text("".join(json.dumps({"id": n, "t": text}) + "\n" for n, text in enumerate(texts)))
    return path


def score(bundle_path: Path, source: Path, output: Path, *more: object) -> str:
    """What the run said of its rows."""
    result = run(
        "score", "--model", bundle_path, "--input", source, "--text-column", "t", "--output", output, *more
    )
    assert result.exit_code == 0, result.stderr
    assert result.stdout == ""
    assert sorted(path.name for path in output.parent.glob(f"{output.name}*")) == [output.name]
    return result.stderr


@pytest.mark.parametrize("rows", [1, 3, 7, 100])
def test_json_lines(bundle_path: Path, tmp_path: Path, rows: int) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", TEXTS)
    score(bundle_path, source, tmp_path / "out.jsonl", "--part-rows", rows)
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    wanted = expected(bundle_path, TEXTS)
    assert [list(row) for row in found] == [["id", "t", *FIELDS]] * len(TEXTS)
    assert [(row["id"], row["t"]) for row in found] == list(enumerate(TEXTS))
    assert all(same(*pair, FIELDS) for pair in zip(found, wanted, strict=True))


def test_parquet_keeps_what_was_there(bundle_path: Path, tmp_path: Path) -> None:
    texts = TEXTS * 30
    table = pa.table(
        {
            "id": pa.array(range(len(texts)), pa.int16()),
            "t": pa.array(texts, pa.large_string()),
            "kind": pa.array([["a", "b"][n % 2] for n in range(len(texts))]).dictionary_encode(),
            "list": pa.array([[n] * (n % 3) for n in range(len(texts))], pa.list_(pa.int32())),
        }
    ).replace_schema_metadata({"origin": "a test"})
    pq.write_table(table, tmp_path / "in.parquet", row_group_size=17)
    said = score(
        bundle_path, tmp_path / "in.parquet", tmp_path / "out.parquet", "--part-rows", 40, "--per-word"
    )
    out = pq.read_table(tmp_path / "out.parquet")
    assert out.column_names == [*table.column_names, *FIELDS, "words"]
    assert out.schema.metadata[b"origin"] == b"a test"
    kept = out.select(table.column_names)
    assert kept.schema == table.schema
    assert kept.unify_dictionaries().to_pylist() == table.to_pylist()
    for found, wanted in zip(out.to_pylist(), expected(bundle_path, TEXTS) * 30, strict=True):
        assert same(found, wanted, FIELDS)
        if wanted["words"] is None:
            assert found["words"] is None
        else:
            words = [(word["word"], word["known"]) for word in wanted["words"]]
            assert [(word["word"], word["known"]) for word in found["words"]] == words
            assert math.fsum(word["logprob"] for word in found["words"]) == pytest.approx(found["logprob"])
    assert out.column("word_count").type == pa.int32()
    assert "210 rows" in said
    assert "30 rows have no score (30 null; the first is row 2)" in said


@pytest.mark.parametrize("kind", [pa.string(), pa.string_view(), pa.dictionary(pa.int32(), pa.string())])
def test_kinds_of_text_columns(bundle_path: Path, tmp_path: Path, kind: pa.DataType) -> None:
    table = pa.table({"t": pa.array(TEXTS, pa.string()).cast(kind)})
    pq.write_table(table, tmp_path / "in.parquet")
    score(bundle_path, tmp_path / "in.parquet", tmp_path / "out.parquet", "--part-rows", 2)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [row["t"] for row in rows] == TEXTS
    assert all(same(*pair, FIELDS) for pair in zip(rows, expected(bundle_path, TEXTS), strict=True))


def test_text_that_is_not_utf8_in_parquet(bundle_path: Path, tmp_path: Path) -> None:
    good, bad = b"Thank you", b"an \xff"
    raw = pa.array([good, bad, good], pa.binary())
    pq.write_table(pa.table({"t": raw.view(pa.string())}), tmp_path / "in.parquet")
    said = score(bundle_path, tmp_path / "in.parquet", tmp_path / "out.parquet")
    rows = pq.read_table(tmp_path / "out.parquet").column("word_count").to_pylist()
    assert rows == [3, None, 3]
    assert "(1 not valid Unicode; the first is row 2)" in said


def test_bad_rows_are_counted_and_never_lost(bundle_path: Path, tmp_path: Path) -> None:
    lines = [
        b'{"t": "Thank you", "n": 1.50}',
        b'{"t": null}',
        b'{"t": 3}',
        b"not json",
        b'["t"]',
        b'{"x": "the"}',
        b'{"t": "the \\ud800"}',
        b"{}",
        b"",
        b"an \xff",
        b' {"t" : "the"} \r',
    ]
    (tmp_path / "in.jsonl").write_bytes(b"\n".join(lines))
    said = score(bundle_path, tmp_path / "in.jsonl", tmp_path / "out.jsonl", "--part-rows", 4)
    rows = (tmp_path / "out.jsonl").read_bytes().splitlines()
    assert len(rows) == len(lines)
    assert rows[0].startswith(b'{"t": "Thank you", "n": 1.50,"logprob":')
    assert [json.loads(row)["word_count"] for row in rows] == [3, *[None] * 9, 2]
    assert [json.loads(rows[n])["line"] for n in (3, 4, 8, 9)] == ["not json", '["t"]', "", "an \ufffd"]
    assert json.loads(rows[5])["x"] == "the"
    assert (
        "9 rows have no score (4 not a JSON object, 1 not a string, 1 not valid Unicode, 1 null,"
        " 2 without the column; the first is row 2)"
    ) in said


def test_no_row_at_all(bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl").write_bytes(b"")
    assert score(bundle_path, tmp_path / "in.jsonl", tmp_path / "out.jsonl") == "0 rows, 0 words\n"
    assert (tmp_path / "out.jsonl").read_bytes() == b""
    pq.write_table(pa.table({"t": pa.array([], pa.string())}), tmp_path / "in.parquet")
    assert score(bundle_path, tmp_path / "in.parquet", tmp_path / "out.parquet") == "0 rows, 0 words\n"
    assert pq.read_table(tmp_path / "out.parquet").column_names == ["t", *FIELDS]


def test_options_of_scoring_count(bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "in.jsonl.gz").write_bytes(gzip.compress(b'{"t": "very much", "logprob": 1}\n'))
    more = ("--context", "Thank you", "--no-end-of-sentence", "--prefix", "lm_")
    score(bundle_path, tmp_path / "in.jsonl.gz", tmp_path / "out.jsonl", *more)
    row = json.loads((tmp_path / "out.jsonl").read_text())
    (wanted,) = json_rows(run("score", "-", "--model", bundle_path, *more[:3], stdin=b"very much"))
    assert list(row) == ["t", "logprob", *(f"lm_{name}" for name in FIELDS)]
    assert row["lm_logprob"] == pytest.approx(wanted["logprob"], abs=2e-5)
    assert row["lm_word_count"] == 2


def test_spans_groups_and_lines_are_columns(spelled_path: Path, tmp_path: Path) -> None:
    texts: list[object] = ["the well-known quiz\nof \u201cthe\u201d", None, "", "quiz"]
    write_jsonl(tmp_path / "in.jsonl", texts)
    pq.write_table(pa.table({"t": pa.array(texts, pa.string())}), tmp_path / "in.parquet")
    for group in ("token", "space"):
        more = ("--per-word", "--lines", "--group", group, "--overwrite")
        for suffix in ("jsonl", "parquet"):
            score(spelled_path, tmp_path / f"in.{suffix}", tmp_path / f"out.{suffix}", *more)
        rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
        table = pq.read_table(tmp_path / "out.parquet").to_pylist()
        assert list(table[0]) == ["t", *FIELDS, "lines", "words"]
        for row, other in zip(rows, table, strict=True):
            del row["id"]
            if row["words"] is not None:
                other["words"] = [
                    {name: value for name, value in word.items() if value is not None}
                    for word in other["words"]
                ]
            assert other == row
        assert rows[1]["lines"] is rows[1]["words"] is None
        assert [len(row["lines"]) for row in rows if row["lines"]] == [2, 1, 1]
        assert rows[0]["words"][-1]["start"] == len(str(texts[0]))


def test_a_row_without_words_has_no_numbers_without_the_end(bundle_path: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ["the", "", " \t"])
    said = score(bundle_path, source, tmp_path / "out.jsonl", "--no-end-of-sentence")
    rows = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["word_count"] for row in rows] == [1, None, None]
    assert [row["logprob"] is None for row in rows] == [False, True, True]
    assert "2 rows have no score (2 without words; the first is row 2)" in said


def test_the_fast_mode_tells_its_bound(bundle_path: Path, tmp_path: Path) -> None:
    source = write_jsonl(tmp_path / "in.jsonl", ["Thank you"])
    score(bundle_path, source, tmp_path / "out.jsonl", "--mode", "fast")
    row = json.loads((tmp_path / "out.jsonl").read_text())
    assert row["logprob_error"] >= 0


def test_an_output_is_not_overwritten_by_chance(bundle_path: Path, tmp_path: Path) -> None:
    source, output = write_jsonl(tmp_path / "in.jsonl", ["the"]), tmp_path / "out.jsonl"
    output.write_text("mine")
    arguments = ("score", "--model", bundle_path, "--input", source, "--text-column", "t", "--output", output)
    wanted = f"headfirst score: {output} exists already: give --overwrite to replace it"
    assert refusal(run(*arguments)) == wanted
    assert output.read_text() == "mine"
    score(bundle_path, source, output, "--overwrite")
    assert json.loads(output.read_text())["word_count"] == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--input", "in.jsonl"), "--input needs an --output"),
        (("--input", "in.txt", "--output", "out.jsonl"), "in.txt: the name must end in .jsonl or .parquet"),
        (("--input", "no.jsonl", "--output", "out.jsonl"), "no.jsonl: No such file or directory"),
        (("--input", "no.parquet", "--output", "out.parquet"), "no.parquet: No such file or directory"),
        (("--input", "in.jsonl", "--output", "out.parquet"), "out.parquet must have the format of in.jsonl"),
        (("--input", "in.jsonl", "--output", "in.jsonl"), "{here}/in.jsonl is the input, too"),
        (("-", "--input", "in.jsonl", "--output", "out.jsonl"), "--input goes without FILE"),
        (("--input", "in.jsonl", "--format", "tsv"), "--input goes without --format"),
        ((), "give a FILE, or a data set as --input"),
        (
            ("--input", "in.jsonl", "--output", "out.jsonl", "--text-column", "t", "--unknown", "spelled"),
            "This model has no spelling model: its unknown words have the class's probability.",
        ),
        (
            ("--input", "in.parquet", "--output", "out.parquet", "--text-column", "x"),
            "in.parquet: has no column 'x'; its columns are n, logprob, t",
        ),
        (
            ("--input", "in.parquet", "--output", "out.parquet", "--text-column", "n"),
            "in.parquet: the column 'n' is int64, not text",
        ),
        (
            ("--input", "in.parquet", "--output", "out.parquet", "--text-column", "t"),
            "in.parquet: has a column 'logprob' already: give a --prefix",
        ),
        (
            ("--input", "in.jsonl", "--output", "out.jsonl", "--text-column", "t"),
            "in.jsonl: line 2 has 'logprob' already: give a --prefix",
        ),
    ],
)
def test_user_errors_are_one_line(
    bundle_path: Path, here: Path, arguments: tuple[str, ...], message: str
) -> None:
    Path("in.jsonl").write_text('{"t": "the"}\n{"t": "the", "logprob": 1}\n')
    Path("in.txt").write_text("the\n")
    pq.write_table(pa.table({"n": [1], "logprob": [1.0], "t": ["the"]}), "in.parquet")
    wanted = f"headfirst score: {message.format(here=here)}"
    assert refusal(run("score", "--model", bundle_path, *arguments)) == wanted
    assert not Path("out.jsonl").exists()
    assert not Path("out.parquet").exists()


def test_a_file_that_is_no_parquet(bundle_path: Path, tmp_path: Path) -> None:
    (tmp_path / "in.parquet").write_text("the")
    result = run(
        "score",
        "--model",
        bundle_path,
        "--input",
        tmp_path / "in.parquet",
        "--output",
        tmp_path / "o.parquet",
    )
    assert refusal(result).startswith(f"headfirst score: {tmp_path / 'in.parquet'}: ")


def test_without_pyarrow_it_says_what_to_install(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delitem(sys.modules, "service.offline.bulk.parquet")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    paths = ("--input", tmp_path / "in.parquet", "--output", tmp_path / "out.parquet")
    wanted = "headfirst score: Parquet needs pyarrow: pip install 'headfirst[parquet]'"
    assert refusal(run("score", "--model", bundle_path, *paths)) == wanted
