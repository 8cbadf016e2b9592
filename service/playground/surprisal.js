// Surprisal in bits, its color steps and their legend.

import { byId, element } from "./format.js";

/** Upper edges of the color steps, in bits; the last step is open. */
const EDGES = [2, 4, 7, 10, 14];

/** Surprisal in bits of a natural log-probability; null (impossible) is infinite. */
export const bits = (logprob) => (logprob === null ? Infinity : -logprob / Math.LN2 + 0); // + 0: no "-0.0"

/** The color step of a surprisal, 0..5. */
export function step(surprisal) {
  const index = EDGES.findIndex((edge) => surprisal < edge);
  return index < 0 ? EDGES.length : index;
}

/** "3.2", or the infinity sign. */
export const shortBits = (surprisal) => (surprisal === Infinity ? "∞" : surprisal.toFixed(1));

/** Fills the legend. */
export function drawLegend() {
  const labels = [0, ...EDGES].map((edge, index) => (index < EDGES.length ? `${edge}–${EDGES[index]}` : `${edge}+`));
  byId("legend").replaceChildren(
    element("span", { class: "what" }, "Surprisal, bits"),
    ...labels.map((label, index) => element("span", { class: "key-step", "data-step": index }, label)),
    element("span", { class: "key-unknown" }, "not in the vocabulary"),
  );
}
