// The server's HTTP API, and what can go wrong with it.

const KEY = "headfirst-key";
const TIMEOUT_MS = 60_000; // over the server's own deadline: only a dead network takes longer

// Behind several replicas, one of them answers all of this page's requests: it knows the text so far.
const SESSION = crypto.getRandomValues(new Uint32Array(4)).join("-");

/** The server answered with an error; `message` is its own. */
export class ApiError extends Error {
  constructor(status, error, retryAfter) {
    super(error.message);
    Object.assign(this, { status, code: error.code, param: error.param, retryAfter });
  }
}

/** Nobody answered. */
export class Unreachable extends Error {}

export const getKey = () => sessionStorage.getItem(KEY) ?? "";

/** Keeps the key for this tab; an empty one is forgotten. */
export function setKey(key) {
  if (key) sessionStorage.setItem(KEY, key);
  else sessionStorage.removeItem(KEY);
}

let chosen; // name of the model to ask; none means the server's first

/** The served models' cards. */
export async function getModels() {
  const { answer } = await call("v1/models");
  return answer.data;
}

/** Asks this model from now on; without a name, the server's first. */
export function chooseModel(name) {
  chosen = name;
}

/** Whether requests for predictions may ask for `explain`: the server's own description tells. */
export async function canExplain() {
  const { answer } = await call("openapi.json");
  const body = answer.paths?.["/v1/predict"]?.post?.requestBody?.content?.["application/json"];
  return body?.schema?.properties?.explain !== undefined;
}

/** Whether the server accepts requests now. */
export async function isReady() {
  try {
    await call("health/ready");
    return true;
  } catch (error) {
    if (error instanceof Unreachable) return false;
    if (error instanceof ApiError) return error.status < 500; // any other answer is for the next request to explain
    throw error;
  }
}

/** `{answer, timing}` of POST v1/predict; an abort of `signal` rejects with its reason. */
export const predict = (body, signal) => call("v1/predict", { ...body, model: chosen }, signal);

/** `{answer, timing}` of POST v1/score. */
export const score = (body, signal) => call("v1/score", { ...body, model: chosen }, signal);

async function call(path, body, signal) {
  const started = performance.now();
  const timeout = AbortSignal.timeout(TIMEOUT_MS);
  const headers = { accept: "application/json", "x-session-id": SESSION };
  if (getKey()) headers.authorization = `Bearer ${getKey()}`;
  if (body) headers["content-type"] = "application/json";
  let response, text;
  try {
    response = await fetch(path, {
      method: body ? "POST" : "GET",
      headers,
      body: body && JSON.stringify(body),
      signal: signal ? AbortSignal.any([signal, timeout]) : timeout,
      cache: "no-store",
    });
    text = await response.text();
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new Unreachable(error.message);
  }
  const roundTrip = performance.now() - started;
  const answer = parse(text);
  if (!response.ok) {
    const error = answer?.error ?? { message: `The server answered ${response.status} ${response.statusText}.` };
    throw new ApiError(response.status, error, Number(response.headers.get("retry-after")) || 0);
  }
  if (answer === undefined) throw new ApiError(response.status, { message: "The server's answer is not JSON." }, 0);
  return { answer, timing: { roundTrip, ...serverTiming(response.headers.get("server-timing") ?? "") } };
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined; // a proxy's error page; the caller says so
  }
}

/** `total;dur=1.2, batch;desc="3"` as `{total: 1.2, batch: 3}`. */
function serverTiming(header) {
  const entries = header.matchAll(/([\w-]+);(?:dur=([\d.]+)|desc="([^"]*)")/g);
  return Object.fromEntries(Array.from(entries, ([, name, dur, desc]) => [name, Number(dur ?? desc)]));
}
