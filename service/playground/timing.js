// What the last request took: seen from here, and as the server reports it (Server-Timing).

import { byId, count, element, ms } from "./format.js";

const ITEMS = [
  ["roundTrip", "Round trip", ms],
  ["total", "Server", ms],
  ["engine", "Model", ms],
  ["batch", "Batch", count],
  ["cached", "Cached words", count],
];

/** Shows the items that are known. */
export function showTiming(timing) {
  const known = ITEMS.filter(([name]) => Number.isFinite(timing[name]));
  byId("timing").replaceChildren(
    ...known.map(([name, label, format]) =>
      element("div", { "data-item": name }, element("dt", {}, label), element("dd", {}, format(timing[name]))),
    ),
  );
}
