// Where a word is being typed, and how a predicted one is put into the text. The spacing rules are those of
// models/text/spacing.py, applied word by word; a test holds the two against each other.

const ATTACH_LEFT = new Set([...". , ; : ! ? ) ] } % ... ° ™ ® ©".split(" ")]);
const ATTACH_RIGHT = new Set([..."( [ { $ # @ ~ £ € ¥ ¿ ¡".split(" ")]);
const ATTACH_BOTH = new Set(["-", "/", "_", "\\"]);
const QUOTES = new Set(['"', "'", "`"]);

export const END = "</s>";

const PARTIAL = /[\p{L}\p{M}\p{N}]+(?:['’.&][\p{L}\p{M}\p{N}]+)*['’]?$/u;
const WORD_START = /^[\p{L}\p{M}\p{N}]/u;

/**
 * What to ask for at a caret: `{context, prefix}`, or null inside of a word, where nothing can be inserted.
 * Where a word is being typed, the prefix is all that stands since the last space: `"hel`, `well-kno`.
 * A line is a sentence of its own, because the model's text has no mark for a sentence's end but its start.
 */
export function askAt(before, after) {
  const line = before.slice(before.lastIndexOf("\n") + 1);
  if (WORD_START.test(after) && PARTIAL.test(line)) return null;
  const prefix = PARTIAL.test(line) ? /\S+$/.exec(line)[0] : "";
  return { context: line.slice(0, line.length - prefix.length), prefix };
}

/**
 * How to accept `word` at a caret: how many characters before it to remove, and the text to put there, which
 * for a word that was being typed is the server's `completion` of all since the last space.
 */
export function insertion(before, after, { word, completion }) {
  if (word === END) return { remove: trailingSpace(before), text: "\n" };
  const { context, prefix } = askAt(before, "");
  const opening = QUOTES.has(word) && !isOpen(context, word);
  const shown = word === "--" ? "-" : word; // a dash is typed as a hyphen between spaces
  const spaceAfter = !(ATTACH_RIGHT.has(word) || ATTACH_BOTH.has(word) || opening || /^\s/.test(after));
  const tail = spaceAfter ? " " : "";
  if (prefix) return { remove: prefix.length, text: completion + tail }; // the space before it is what was typed
  const closing = QUOTES.has(word) && !opening;
  const attached = ATTACH_LEFT.has(word) || ATTACH_BOTH.has(word) || closing || attachesNext(context);
  return { remove: trailingSpace(context), text: (attached ? "" : " ") + shown + tail };
}

function trailingSpace(text) {
  return /[^\S\n]*$/.exec(text)[0].length;
}

/** Whether the next word follows `context` without a space. */
function attachesNext(context) {
  const trimmed = context.trimEnd();
  if (trimmed === "") return true;
  const last = trimmed.at(-1);
  // A hyphen joins; a hyphen with a space after it is a dash.
  if (ATTACH_BOTH.has(last)) return trimmed.length === context.length;
  if (QUOTES.has(last)) return isOpen(context, last);
  return ATTACH_RIGHT.has(last);
}

/** Whether a quotation is open: an odd number of these marks, apostrophes inside of words not counted. */
function isOpen(text, mark) {
  const marks = text.match(mark === "'" ? /(?<![\p{L}\p{N}])'|'(?![\p{L}\p{N}])/gu : new RegExp(mark, "g"));
  return (marks?.length ?? 0) % 2 === 1;
}
