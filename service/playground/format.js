// Numbers and elements, as the page shows them.

const whole = new Intl.NumberFormat("en-US");

/** 12345 as "12,345". */
export const count = (n) => whole.format(n);

/** "1 word", "2 words". */
export const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : "s"}`;

/** 12,345,678 as "12.3 M". */
export function millions(n) {
  return n < 1e6 ? count(n) : `${(n / 1e6).toFixed(n < 1e8 ? 1 : 0)} M`;
}

/** A log-probability (natural) as a percentage of sensible precision. */
export function percent(logprob) {
  const p = 100 * Math.exp(logprob);
  if (p >= 99.95) return "100%";
  if (p >= 10) return `${p.toFixed(1)}%`;
  if (p >= 0.1) return `${p.toFixed(2)}%`;
  if (p >= 0.0001) return `${p.toFixed(p >= 0.01 ? 3 : 4)}%`;
  return p > 0 ? "<0.0001%" : "0%";
}

/** Milliseconds. */
export const ms = (t) => `${t < 10 ? t.toFixed(1) : t.toFixed(0)} ms`;

/** A number with a true minus sign; null, which the server sends for what JSON cannot hold, as infinity. */
export function signed(x, digits = 2) {
  return x === null ? "−∞" : x.toFixed(digits).replace("-", "−");
}

/** Perplexity: three significant digits or more. */
export function perplexity(x) {
  if (x === null) return "∞";
  return x < 1000 ? x.toPrecision(x < 100 ? 3 : 4) : x < 1e7 ? count(Math.round(x)) : x.toExponential(2);
}

/** A new element with text and attributes; `attributes` whose value is null are left out. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null) node.setAttribute(name, value);
  }
  node.append(...children);
  return node;
}

/** `parts` in a row, broken into lines only between them. */
export function row(parts, separator) {
  return parts.flatMap((part, index) => {
    const last = index === parts.length - 1;
    return [element("span", { class: "whole" }, last ? part : part + separator.trimEnd()), last ? "" : " "];
  });
}

/** The element with this id. */
export const byId = (id) => document.getElementById(id);
