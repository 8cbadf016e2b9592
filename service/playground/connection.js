// Whether the server is there: says so, waits for it to come back, and tells who waits.

import { ApiError, Unreachable, isReady } from "./api.js";
import { byId, element } from "./format.js";

const FIRST_WAIT_MS = 500;
const LONGEST_WAIT_MS = 5000;

const banner = byId("banner");
const dot = byId("dot");
const returned = []; // callbacks for when the server is back
let waiting = false;

/** Calls `callback` each time the server is back after it was away. */
export const onReturn = (callback) => returned.push(callback);

/** The server answered as it should. */
export function succeeded() {
  dot.dataset.state = "ready";
  if (!waiting) clear();
}

/** Shows what went wrong; where it is the whole server, waits for it. `place` says which part is meant. */
export function failed(error, place = "") {
  if (error instanceof Unreachable) {
    waitFor("The server is not reachable, retrying…");
  } else if (isAway(error)) {
    waitFor(`${error.message} Retrying…`);
  } else if (error instanceof ApiError) {
    show(place + error.message, "error");
    if (error.status === 401) offerKey();
  } else {
    show("The playground failed; the browser's console tells why. Reloading the page may help.", "error");
    throw error;
  }
}

/** Whether the server will be back by itself: it is gone, starts or ends, or a proxy cannot reach it. */
export function isAway(error) {
  return error instanceof Unreachable || (error instanceof ApiError && [502, 503].includes(error.status));
}

/** Takes the banner away. */
export function clear() {
  banner.replaceChildren();
  delete banner.dataset.kind;
}

function show(message, kind) {
  if (banner.dataset.kind === kind && banner.firstChild?.textContent === message) return; // not read out again
  banner.dataset.kind = kind;
  banner.replaceChildren(element("p", {}, message));
  if (kind === "error") {
    const close = element("button", { type: "button", class: "quiet" }, "Dismiss");
    close.addEventListener("click", clear);
    banner.append(close);
  }
}

async function waitFor(message) {
  dot.dataset.state = "away";
  show(message, "away");
  if (waiting) return;
  waiting = true;
  let wait = FIRST_WAIT_MS;
  do {
    await sleep(wait);
    wait = Math.min(wait * 1.5, LONGEST_WAIT_MS);
  } while (!(await isReady()));
  waiting = false;
  dot.dataset.state = "ready";
  clear();
  for (const callback of returned) callback();
}

/** Waits; less where the browser says that the network, or the person, is back. */
function sleep(milliseconds) {
  return new Promise((resolve) => {
    const wake = () => {
      clearTimeout(timer);
      removeEventListener("online", wake);
      removeEventListener("focus", wake);
      resolve();
    };
    const timer = setTimeout(wake, milliseconds);
    addEventListener("online", wake);
    addEventListener("focus", wake);
  });
}

function offerKey() {
  if (banner.querySelector("[data-key]")) return;
  const button = element("button", { type: "button", "data-key": "" }, "Enter API key");
  button.addEventListener("click", () => {
    byId("key-details").open = true;
    byId("key").focus();
  });
  banner.lastChild.before(button);
}
