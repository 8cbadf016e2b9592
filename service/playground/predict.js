// The "Predict" tab: the text, what to ask about it, and what to do with the answer.

import * as api from "./api.js";
import * as connection from "./connection.js";
import { byId, percent } from "./format.js";
import { Suggestions } from "./suggestions.js";
import { END, askAt, insertion } from "./text.js";
import { showTiming } from "./timing.js";

const DEBOUNCE_MS = 60;
const ANNOUNCE_MS = 700; // a screen reader hears of the words once typing pauses

/** Wires the tab. */
export class PredictTab {
  strip = null; // set once the model is known
  explain = false; // whether the server can be asked for it

  #text = byId("text");
  #k = byId("k");
  #wordsOnly = byId("words-only");
  #anyCase = byId("any-case");
  #live = byId("live");
  #list = new Suggestions(this.#text, (word) => this.#accept(word));
  #request = null; // AbortController of the request that counts
  #timer = 0;
  #announcement = 0;
  #asked = ""; // what the list is for: the caret moves that do not change it ask nothing
  #composing = false; // an input method is at work: its text is not the person's yet
  #acceptNext = false; // Tab came before the answer for the text it was pressed on

  constructor() {
    this.#text.addEventListener("input", (event) => {
      if (!this.#composing) this.#changed();
    });
    this.#text.addEventListener("compositionstart", () => (this.#composing = true));
    this.#text.addEventListener("compositionend", () => {
      this.#composing = false;
      this.#changed();
    });
    this.#text.addEventListener("keydown", (event) => this.#key(event));
    document.addEventListener("selectionchange", () => {
      if (this.#composing || document.activeElement !== this.#text) return;
      if (this.#signature(this.#ask()) !== this.#asked) this.#changed();
    });
    for (const choice of [this.#k, this.#wordsOnly, this.#anyCase]) choice.addEventListener("change", () => this.refresh());
    byId("clear").addEventListener("click", () => this.#replaceAll(""));
    byId("examples").addEventListener("click", (event) => {
      const button = event.target.closest("button");
      if (button) this.#replaceAll(button.textContent);
    });
    connection.onReturn(() => this.refresh());
  }

  /** Asks for the words at the caret at once. */
  refresh() {
    clearTimeout(this.#timer);
    const ask = this.#ask();
    this.#asked = this.#signature(ask);
    this.#request?.abort();
    if (ask) this.#send(ask);
    else this.#list.close("Move the caret to the end of a word for its completions.");
  }

  focus() {
    this.#text.focus();
  }

  #changed() {
    this.#acceptNext = false;
    this.#asked = this.#signature(this.#ask());
    this.#list.markStale();
    this.#request?.abort();
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.refresh(), DEBOUNCE_MS);
  }

  #ask() {
    const { value, selectionStart, selectionEnd } = this.#text;
    if (selectionStart !== selectionEnd) return null;
    return askAt(value.slice(0, selectionStart), value.slice(selectionStart));
  }

  #signature(ask) {
    return JSON.stringify(ask);
  }

  async #send({ context, prefix }) {
    const request = (this.#request = new AbortController());
    const body = { inputs: context, k: Number(this.#k.value) };
    if (prefix) body.prefix = prefix;
    if (prefix && this.#anyCase.checked) body.ignore_case = true;
    if (this.#wordsOnly.checked) body.words_only = true;
    if (this.explain) body.explain = true;
    try {
      const { answer, timing } = await api.predict(body, request.signal);
      if (request.signal.aborted) return;
      connection.succeeded();
      showTiming(timing);
      this.#show(answer.results[0], prefix, body.k);
    } catch (error) {
      if (request.signal.aborted) return;
      this.#acceptNext = false;
      this.#list.close("No prediction.");
      this.strip?.clear();
      connection.failed(error);
      if (error.status === 429) this.#timer = setTimeout(() => this.refresh(), 1000 * error.retryAfter || 1000);
    }
  }

  #show(result, prefix, k) {
    this.#list.show(result.words, prefix);
    this.strip?.show(result, k);
    this.#announce(result.words, prefix);
    if (this.#acceptNext) {
      this.#acceptNext = false;
      if (this.#list.chosen !== null) this.#accept(this.#list.chosen);
    }
  }

  #announce(words, prefix) {
    clearTimeout(this.#announcement);
    this.#announcement = setTimeout(() => {
      const [best] = words;
      this.#live.textContent = best
        ? `${words.length} words. Best: ${best.word === END ? "end of sentence" : best.word}, ${percent(best.logprob)}.`
        : `No word starts with ${prefix}.`;
    }, ANNOUNCE_MS);
  }

  #key(event) {
    if (event.isComposing || event.ctrlKey || event.metaKey || event.altKey || event.shiftKey) return;
    if (!this.#list.open) return; // then every key does what it does in any text
    const act = {
      Tab: () => this.#take(),
      Enter: this.#list.picked ? () => this.#take() : null,
      ArrowDown: () => this.#list.move(1),
      ArrowUp: () => this.#list.move(-1),
      Escape: () => this.#close(),
    }[event.key];
    if (!act) return;
    event.preventDefault();
    act();
  }

  #take() {
    if (this.#list.stale) this.#acceptNext = true;
    else this.#accept(this.#list.chosen);
  }

  #close() {
    clearTimeout(this.#timer);
    this.#request?.abort();
    this.#acceptNext = false;
    this.#list.close("Closed. Type on, or move the caret, to see words again.");
  }

  #accept(word) {
    const { value, selectionStart } = this.#text;
    const { remove, text } = insertion(value.slice(0, selectionStart), value.slice(selectionStart), word);
    this.#text.focus();
    this.#replace(selectionStart - remove, selectionStart, text);
  }

  #replaceAll(text) {
    this.#text.focus();
    this.#replace(0, this.#text.value.length, text);
    if (!text) this.refresh(); // clearing an empty text changes nothing, yet should bring the words back
  }

  #replace(start, end, text) {
    this.#text.setSelectionRange(start, end);
    // Deprecated, and still the only edit that undo (Ctrl+Z) knows of; it fires "input" by itself.
    const command = text ? "insertText" : "delete";
    if (start === end && !text) return;
    if (!document.execCommand(command, false, text)) {
      this.#text.setRangeText(text, start, end, "end");
      this.#changed();
    }
  }
}
