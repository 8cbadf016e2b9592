// Scored sentences on the page: words colored by surprisal, and the same as a table.

import { count, element, perplexity, plural, signed } from "./format.js";
import { bits, shortBits, step } from "./surprisal.js";
import { END } from "./text.js";

/** Sentences that are drawn at most: a browser holds no page of a million words. */
export const SHOWN = 200;

/** One sentence as a list item: its figures, then its words. */
export function sentenceItem({ result }) {
  const figures = [
    ["Perplexity", perplexity(result.perplexity)],
    ["Log-probability", signed(result.logprob)],
    ["Words", count(result.word_count)],
  ];
  if (result.unknown_words) figures.push(["Unknown", count(result.unknown_words)]);
  return element(
    "li",
    { class: "card sentence" },
    element("p", { class: "chips" }, ...result.words.flatMap((word) => [chip(word), " "])),
    element("dl", {}, ...figures.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
  );
}

function chip({ word, logprob, known }) {
  const surprisal = bits(logprob);
  const note = known ? "" : ", not in the vocabulary: the surprisal of any unknown word";
  return element(
    "span",
    {
      class: known ? "chip" : "chip unknown",
      "data-step": step(surprisal),
      title: `${shown(word)}: ${shortBits(surprisal)} bits, log-probability ${signed(logprob, 3)}${note}`,
    },
    element("span", { class: word === END ? "surface end" : "surface" }, shown(word)),
    // Read out, the numbers would bury the sentence; the table is there for them.
    element("span", { class: "bits", "aria-hidden": "true" }, shortBits(surprisal)),
  );
}

const shown = (word) => (word === END ? "end" : word);

/** The words of all sentences as a table. */
export function wordTable(scored) {
  const head = [["Sentence", "n"], ["Position", "n"], ["Word"], ["Surprisal, bits", "n"], ["Log-probability", "n"], ["In vocabulary"]];
  const rows = scored.flatMap(({ result }, sentence) =>
    result.words.map(({ word, logprob, known }, position) =>
      element(
        "tr",
        {},
        element("td", { class: "n" }, String(sentence + 1)),
        element("td", { class: "n" }, String(position + 1)),
        element("th", { scope: "row" }, word === END ? "end of sentence" : word),
        element("td", { class: "n" }, bits(logprob) === Infinity ? "∞" : bits(logprob).toFixed(2)),
        element("td", { class: "n" }, signed(logprob, 3)),
        element("td", {}, known ? "yes" : "no"),
      ),
    ),
  );
  return element(
    "table",
    {},
    element("caption", { class: "unseen" }, `Surprisal of ${plural(rows.length, "word")}`),
    element("thead", {}, element("tr", {}, ...head.map(([name, kind = null]) => element("th", { scope: "col", class: kind }, name)))),
    element("tbody", {}, ...rows),
  );
}
