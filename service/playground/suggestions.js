// The list of predicted words: a listbox that the text field owns (the focus never leaves the text).

import { byId, element, percent } from "./format.js";
import { END } from "./text.js";

/** The listbox under the text. `onAccept({word, completion})` is called for a click. */
export class Suggestions {
  #list = byId("words");
  #none = byId("none");
  #field;
  #words = [];
  #active = -1; // index that the arrows chose; -1: none, and Tab takes the first

  constructor(field, onAccept) {
    this.#field = field;
    // Pressing must not take the focus out of the text; the click that follows accepts.
    this.#list.addEventListener("mousedown", (event) => event.preventDefault());
    this.#list.addEventListener("click", (event) => {
      const option = event.target.closest('[role="option"]');
      if (option && !this.stale) onAccept(this.#words[Number(option.dataset.index)]);
    });
  }

  get open() {
    return !this.#list.hidden;
  }

  /** Whether the list belongs to an older text than the one in the field. */
  get stale() {
    return "stale" in this.#list.dataset;
  }

  markStale() {
    this.#list.dataset.stale = "";
    this.#choose(-1);
  }

  /** The answered word that Tab takes, or null. */
  get chosen() {
    return this.open ? (this.#words[Math.max(this.#active, 0)] ?? null) : null;
  }

  /** Whether the arrows chose a word, so that Enter takes it. */
  get picked() {
    return this.#active >= 0;
  }

  /** Shows the words; `prefix` is the part that was typed already. */
  show(words, prefix) {
    this.#words = words;
    delete this.#list.dataset.stale;
    const best = words[0]?.logprob ?? 0;
    this.#list.replaceChildren(...words.map((word, index) => option(word, index, best, prefix)));
    this.#choose(-1);
    this.#toggle(words.length > 0, `No word of the vocabulary starts with “${prefix}”.`);
  }

  close(reason) {
    this.#choose(-1);
    this.#toggle(false, reason);
  }

  /** Moves the choice by `step`, around the ends. */
  move(step) {
    const size = this.#words.length;
    if (this.#active < 0 && step < 0) this.#choose(size - 1);
    else this.#choose((this.#active + step + size) % size);
  }

  #choose(index) {
    this.#active = index;
    for (const node of this.#list.children) {
      node.setAttribute("aria-selected", String(Number(node.dataset.index) === index));
    }
    const node = this.#list.children[index];
    if (node) {
      this.#field.setAttribute("aria-activedescendant", node.id);
      node.scrollIntoView({ block: "nearest" });
    } else {
      this.#field.removeAttribute("aria-activedescendant");
    }
  }

  #toggle(open, reason) {
    this.#list.hidden = !open;
    this.#none.hidden = open;
    this.#none.textContent = reason;
    this.#field.setAttribute("aria-expanded", String(open));
  }
}

function option({ word, completion = word, logprob }, index, best, prefix) {
  const bar = element("span", { class: "fill" });
  bar.style.inlineSize = `${100 * Math.exp(logprob - best)}%`; // the best word's bar is full
  return element(
    "li",
    { role: "option", id: `word-${index}`, "data-index": index, "aria-selected": "false" },
    element("span", { class: "word" }, ...label(completion, prefix)),
    element("span", { class: "track" }, bar),
    element("span", { class: "p" }, percent(logprob)),
  );
}

function label(text, prefix) {
  if (text === END) return [element("em", {}, "end of sentence")];
  // In another case than it was typed, the word is the model's.
  if (!prefix || !text.startsWith(prefix)) return [text];
  return [element("span", { class: "typed" }, prefix), text.slice(prefix.length)];
}
