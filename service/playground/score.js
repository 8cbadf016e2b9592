// The "Score" tab: sentences in, surprisal of every word out.

import * as api from "./api.js";
import * as connection from "./connection.js";
import { download, sentencesCsv, wordsCsv } from "./csv.js";
import { byId, count, perplexity, plural, row, signed } from "./format.js";
import { SHOWN, sentenceItem, wordTable } from "./scored.js";
import { drawLegend } from "./surprisal.js";
import { showTiming } from "./timing.js";

const LINES_A_REQUEST = 100; // so that a long paste shows progress, can be stopped, and stays under the limits

const EXAMPLE = [
  "Thank you very much for your help.",
  "Thank you very mud for your help.",
  "The old man the boat.",
  "She poured the coffee into the zorblat.",
].join("\n");

/** Wires the tab. */
export class ScoreTab {
  #sentences = byId("sentences");
  #button = byId("run-score");
  #request = null; // AbortController while scoring
  #interrupted = false; // the server went away under a request
  #scored = [];

  constructor() {
    drawLegend();
    byId("score-form").addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#request) this.#request.abort();
      else this.run();
    });
    this.#sentences.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !this.#request) this.run();
    });
    byId("score-example").addEventListener("click", () => {
      this.#sentences.value = EXAMPLE;
      const older = this.#request;
      this.run();
      older?.abort();
    });
    for (const radio of document.getElementsByName("view")) {
      radio.addEventListener("change", () => this.#view(radio.value));
    }
    byId("csv-words").addEventListener("click", () => download("surprisal-words.csv", wordsCsv(this.#scored)));
    byId("csv-sentences").addEventListener("click", () => {
      download("surprisal-sentences.csv", sentencesCsv(this.#scored));
    });
    connection.onReturn(() => {
      if (this.#interrupted) this.run();
    });
  }

  /** Scores every line that is not empty. */
  async run() {
    const lines = this.#sentences.value.split("\n").map((text) => text.trim());
    const texts = lines.filter((text) => text);
    if (!texts.length) {
      this.#sentences.focus();
      return;
    }
    const request = (this.#request = new AbortController());
    this.#interrupted = false;
    this.#button.textContent = "Stop";
    let done = 0;
    const scored = [];
    try {
      for (; done < texts.length; done += LINES_A_REQUEST) {
        const chunk = texts.slice(done, done + LINES_A_REQUEST);
        const { answer, timing } = await api.score(this.#body(chunk), request.signal);
        connection.succeeded();
        showTiming(timing);
        chunk.forEach((text, index) => scored.push({ text, result: answer.results[index] }));
        if (scored.length < texts.length) byId("live").textContent = `${scored.length} of ${texts.length} scored.`;
      }
    } catch (error) {
      if (this.#request !== request) return; // a newer run took over
      if (!request.signal.aborted) this.#fail(error, texts, done);
    }
    this.#request = null;
    this.#button.textContent = "Score";
    this.#show(scored, texts.length); // what was done before a stop or a fault is worth seeing
  }

  #body(inputs) {
    return { inputs, context: byId("context").value, end_of_sentence: byId("end").checked };
  }

  #fail(error, texts, done) {
    const item = /^inputs\[(\d+)\]/.exec(error.param ?? "");
    this.#interrupted = connection.isAway(error);
    connection.failed(error, item ? `Sentence ${count(done + Number(item[1]) + 1)} of ${count(texts.length)}: ` : "");
  }

  #show(scored, asked) {
    this.#scored = scored;
    byId("results").hidden = !scored.length;
    if (!scored.length) return;
    const figures = summary(scored, asked);
    byId("summary").replaceChildren(...row(figures, ", "));
    byId("live").textContent = figures.join(", ");
    const shown = byId("shown");
    shown.hidden = scored.length <= SHOWN;
    shown.textContent = `Shown: the first ${count(SHOWN)} of ${count(scored.length)} sentences. The CSV files hold all.`;
    byId("sentence-list").replaceChildren(...scored.slice(0, SHOWN).map(sentenceItem));
    byId("table-view").replaceChildren(wordTable(scored.slice(0, SHOWN)));
  }

  #view(name) {
    byId("sentence-list").hidden = byId("legend").hidden = name !== "text";
    byId("table-view").hidden = name !== "table";
  }
}

/** What there is to say of all sentences; their perplexity is that of the text as a whole. */
function summary(scored, asked) {
  const sum = (name) => scored.reduce((total, { result }) => total + result[name], 0);
  const words = sum("word_count");
  const finite = scored.every(({ result }) => result.logprob !== null);
  const logprob = finite ? sum("logprob") : null;
  const parts = [
    scored.length < asked ? `${count(scored.length)} of ${plural(asked, "sentence")}` : plural(asked, "sentence"),
    plural(words, "word"),
    `perplexity ${perplexity(finite ? Math.exp(-logprob / words) : null)}`,
    `log-probability ${signed(logprob)}`,
  ];
  if (sum("unknown_words")) parts.push(plural(sum("unknown_words"), "unknown word"));
  return parts;
}
