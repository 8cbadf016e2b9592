// The picture of the idea: head and tail clusters side by side, the k-th best word as a line. A cluster can hold
// no word more probable than itself, so only clusters above the line need to be opened.
//
// It draws what the server tells. Sizes come from the model's cutoffs, the line from the answer. Which clusters
// were opened is in a result's `explain`, where the server offers it:
//   explain: { clusters: [index of each opened tail cluster], cluster_logprobs?: [one for each tail cluster] }

import { byId, count, element, percent, plural } from "./format.js";

const DECADES = 6; // the plot reaches from 1 down to 1e-6

/** Height of a log-probability in the plot, 0..1. */
const height = (logprob) => Math.min(1, Math.max(0, 1 + logprob / Math.LN10 / DECADES));

/** The strip for one model. */
export class Strip {
  #plot = byId("plot");
  #caption = byId("strip-caption");
  #line = element("div", { class: "line" });
  #cells = [];
  #sizes;

  constructor(cutoffs) {
    this.#sizes = cutoffs.map((end, index) => end - (cutoffs[index - 1] ?? 0));
    const names = this.#sizes.map((size, index) => (index ? `Cluster ${index}` : "Head") + `: ${plural(size, "word")}`);
    this.#cells = this.#sizes.map((size, index) => cell(index, size, names[index], this.#sizes.length - 1));
    this.#plot.replaceChildren(element("div", { class: "cells" }, ...this.#cells), ...grid(), this.#line);
    byId("strip").hidden = false;
    this.clear();
  }

  /** Before and between predictions: only the layout. */
  clear() {
    this.#line.hidden = true;
    for (const node of this.#cells.slice(1)) paint(node, false, undefined);
    this.#say([this.#layout()]);
  }

  /** Draws one answer to a request for `k` words. */
  show({ words, explain }, k) {
    const tails = this.#cells.slice(1);
    const opened = new Set(explain?.clusters ?? []);
    tails.forEach((node, index) => paint(node, opened.has(index), explain?.cluster_logprobs?.[index]));
    const kth = words.length === k ? words[k - 1].logprob : null;
    this.#drawLine(kth, k);
    const sentences = [this.#layout()];
    if (kth === null) sentences.push(`Fewer than ${k} words match, so there is no line to beat.`);
    else sentences.push(`The line is the ${ordinal(k)} best word, ${percent(kth)}: a cluster below it cannot hold a better one, so it need not be opened.`);
    if (explain) sentences.push(`Opened for this prediction: ${count(opened.size)} of ${count(tails.length)}.`);
    this.#say(sentences);
  }

  #layout() {
    const tails = this.#sizes.length - 1;
    const rest = this.#sizes.slice(1).reduce((sum, size) => sum + size, 0);
    if (!tails) return `A plain softmax over ${plural(rest + this.#sizes[0], "word")}; there are no tail clusters.`;
    return `The head, ${plural(this.#sizes[0], "frequent word")}, is always scored; ${plural(tails, "tail cluster")} hold the other ${count(rest)}.`;
  }

  #drawLine(kth, k) {
    this.#line.hidden = kth === null;
    if (kth === null) return;
    this.#line.style.insetBlockEnd = `${100 * height(kth)}%`;
    this.#line.replaceChildren(element("span", {}, `${ordinal(k)} best, ${percent(kth)}`));
  }

  #say(sentences) {
    this.#caption.textContent = sentences.join(" ");
    this.#plot.setAttribute("aria-label", sentences.join(" "));
  }
}

function cell(index, size, title, tails) {
  const node = element("div", { class: index ? "cell" : "cell head", title }, element("i"));
  // Widths by the logarithm: in proportion, a head of 2% of the vocabulary would not be seen.
  node.style.flexGrow = index ? Math.log2(size + 1) : Math.max(2, tails / 5) * Math.log2(size + 1);
  if (!index) node.append(element("b", {}, "head"));
  return node;
}

function paint(node, opened, logprob) {
  node.classList.toggle("opened", opened);
  const known = logprob !== undefined;
  node.firstChild.style.blockSize = known ? `${100 * height(logprob)}%` : opened ? "100%" : "0";
}

function grid() {
  return [0, 2, 4].map((decade) => {
    const mark = element("div", { class: "mark" }, element("span", {}, ["100%", , "1%", , "0.01%"][decade]));
    mark.style.insetBlockEnd = `${100 * (1 - decade / DECADES)}%`;
    return mark;
  });
}

function ordinal(n) {
  const suffix = n % 100 > 10 && n % 100 < 14 ? "th" : (["th", "st", "nd", "rd"][n % 10] ?? "th");
  return `${n}${suffix}`;
}
