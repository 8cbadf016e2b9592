// Scored sentences on the page: words colored by surprisal, and the same as a table.

import { count, element, perplexity, plural, signed } from "./format.js";
import { bits, shortBits, step } from "./surprisal.js";
import { END } from "./text.js";

/** Sentences that are drawn at most: a browser holds no page of a million words. */
export const SHOWN = 200;

/** One sentence as a list item: its figures, then its words. */
export function sentenceItem({ text, result }) {
  const figures = [
    ["Perplexity", perplexity(result.perplexity)],
    ["Log-probability", signed(result.logprob)],
    ["Words", count(result.word_count)],
  ];
  if (result.unknown_words) figures.push(["Unknown", count(result.unknown_words)]);
  const spelled = result.known_perplexity !== undefined;
  if (spelled && result.unknown_words) figures.push(["Perplexity without unknown", perplexity(result.known_perplexity)]);
  const item = element(
    "li",
    { class: "card sentence" },
    ...source(text, result.words),
    element("p", { class: "chips" }, ...result.words.flatMap((word, index) => [chip(word, index, spelled), " "])),
    element("dl", {}, ...figures.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value)))),
  );
  item.addEventListener("mouseover", ({ target }) => light(item, target.closest("[data-word]")?.dataset.word));
  item.addEventListener("mouseleave", () => light(item, undefined));
  return item;
}

/** The text as it was typed, in pieces: each word's span, where the server tells it, and what lies between. */
function source(text, words) {
  if (words[0]?.start === undefined) return [];
  const characters = Array.from(text); // spans count code points
  const slice = (start, end) => characters.slice(start, end).join("");
  const pieces = [];
  let at = 0;
  words.forEach(({ start, end }, index) => {
    pieces.push(slice(at, start), element("span", { "data-word": index }, slice(start, end)));
    at = end;
  });
  return [element("p", { class: "source" }, ...pieces, slice(at))];
}

/** Shows which typed characters a word is, and which word typed characters are. */
function light(item, word) {
  for (const node of item.querySelectorAll("[data-word]")) node.classList.toggle("lit", node.dataset.word === word);
}

function chip({ word, token, logprob, known }, index, spelled) {
  const surprisal = bits(logprob);
  const read = token === undefined || token === word ? "" : `, read as ${token}`;
  const price = spelled ? "the surprisal of its spelling" : "the surprisal of any unknown word";
  const note = known ? "" : `, not in the vocabulary: ${price}`;
  return element(
    "span",
    {
      class: known ? "chip" : "chip unknown",
      "data-step": step(surprisal),
      "data-word": index,
      title: `${shown(word)}: ${shortBits(surprisal)} bits, log-probability ${signed(logprob, 3)}${read}${note}`,
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
