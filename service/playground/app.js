// The playground: wires the parts of the page together.

import * as api from "./api.js";
import * as connection from "./connection.js";
import { byId, count, millions, row } from "./format.js";
import { PredictTab } from "./predict.js";
import { ScoreTab } from "./score.js";
import { Strip } from "./strip.js";
import { wireTabs } from "./tabs.js";

const predict = new PredictTab();
new ScoreTab();
wireTabs(document.querySelector('[role="tablist"]'));
wireTheme();
wireKey();
wireModels();
connection.onReturn(describe); // another model may have come back
await describe();
predict.refresh();
// On a phone the focus would raise the keyboard over the page before it was seen.
if (matchMedia("(pointer: fine)").matches && !byId("predict").hidden) predict.focus();

/** Shows which model is asked, and the choice where several are served. */
async function describe() {
  try {
    const [models, explain] = await Promise.all([api.getModels(), offersExplain()]);
    connection.succeeded();
    const model = offer(models);
    const facts = [
      model.name,
      model.architecture.toUpperCase(),
      `${count(model.vocabulary_size)} words`,
      `${millions(model.parameters)} parameters`,
      model.dtype,
      model.device,
    ];
    byId("model-text").replaceChildren(...row(facts, " · "));
    predict.strip = new Strip(model.cutoffs);
    predict.explain = explain;
  } catch (error) {
    byId("model-text").textContent = "No model yet";
    connection.failed(error);
  }
}

/** Fills the choice of models, which stays where it was if that is served still; returns the chosen one. */
function offer(models) {
  const choice = byId("models");
  const model = models.find(({ name }) => name === choice.value) ?? models[0];
  choice.replaceChildren(...models.map(({ name }) => new Option(name, name, false, name === model.name)));
  byId("model-choice").hidden = models.length < 2;
  api.chooseModel(models.length < 2 ? undefined : model.name);
  return model;
}

function wireModels() {
  byId("models").addEventListener("change", async () => {
    connection.clear();
    await describe();
    predict.refresh();
  });
}

/** A server without its description (a proxy may hide it) is asked for nothing that it may not know. */
async function offersExplain() {
  try {
    return await api.canExplain();
  } catch (error) {
    if (error instanceof api.ApiError) return false;
    throw error;
  }
}

function wireTheme() {
  const root = document.documentElement;
  const button = byId("theme");
  const system = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme ? root.dataset.theme === "dark" : system.matches);
  const tell = () => button.setAttribute("aria-pressed", String(isDark()));
  button.addEventListener("click", () => {
    const theme = isDark() ? "light" : "dark";
    root.dataset.theme = theme;
    try {
      localStorage.setItem("headfirst-theme", theme);
    } catch {
      // Forbidden storage: the choice then lasts as long as the page.
    }
    tell();
  });
  system.addEventListener("change", tell);
  tell();
}

function wireKey() {
  const details = byId("key-details");
  const field = byId("key");
  field.value = api.getKey();
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    use(field.value.trim());
  });
  byId("key-forget").addEventListener("click", () => use(""));
  details.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    details.open = false;
    details.querySelector("summary").focus();
  });

  async function use(key) {
    api.setKey(key);
    field.value = key;
    details.open = false;
    connection.clear();
    await describe();
    predict.refresh();
  }
}
