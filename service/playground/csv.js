// Scored sentences as CSV (RFC 4180, UTF-8): one row a word, or one row a sentence.

import { bits } from "./surprisal.js";

const WORDS = ["sentence", "position", "word", "logprob", "surprisal_bits", "known"];
const SENTENCES = ["sentence", "text", "logprob", "perplexity", "word_count", "unknown_words"];

/** Rows of words; `scored` is a list of `{text, result}`. */
export function wordsCsv(scored) {
  const rows = scored.flatMap(({ result }, sentence) =>
    result.words.map(({ word, logprob, known }, position) => [
      sentence + 1,
      position + 1,
      word,
      logprob,
      logprob === null ? null : Number(bits(logprob).toFixed(6)),
      known,
    ]),
  );
  return csv(WORDS, rows);
}

/** Rows of sentences. */
export function sentencesCsv(scored) {
  const rows = scored.map(({ text, result }, index) => [index + 1, text, ...SENTENCES.slice(2).map((name) => result[name])]);
  return csv(SENTENCES, rows);
}

/** Offers `content` to the browser as a file. */
export function download(name, content) {
  const url = URL.createObjectURL(new Blob([content], { type: "text/csv;charset=utf-8" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000); // the browser reads it after this turn
}

function csv(header, rows) {
  return [header, ...rows].map((row) => row.map(field).join(",") + "\r\n").join("");
}

/** What JSON had to write as null (an infinite number) is an empty field. */
function field(value) {
  const text = String(value ?? "");
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}
