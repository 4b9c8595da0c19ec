// The results as a person wants them: sorted, filtered, as CSV, as JSON, in the clipboard.

import { el } from "./dom.js";

const first = (card) => card.labels[0];
const ORDERS = {
  added: () => 0,
  confidence: (a, b) => (first(b)?.confidence ?? -1) - (first(a)?.confidence ?? -1),
  label: (a, b) => (first(a)?.name ?? "\uffff").localeCompare(first(b)?.name ?? "\uffff"),
};

/** Return the cards in an order; those that are alike stay as they were added. */
export const sorted = (cards, order) => [...cards].sort(ORDERS[order]);

/** Say whether a card is shown: one without labels is, unless a label is asked for. */
export function matches(card, text, confidenceMin) {
  const wanted = text.trim().toLowerCase();
  if (!card.labels.length) return !wanted && !confidenceMin;
  return card.labels.some(({ name, confidence }) => confidence >= confidenceMin && name.toLowerCase().includes(wanted));
}

// A spreadsheet runs a cell that begins so as a formula.
const cell = (value) => {
  const text = /^[=+\-@\t\r]/.test(value) ? `'${value}` : String(value);
  return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
};

/** Return the columns of `beholder classify --csv`. */
export function asCsv(cards) {
  const rows = cards.flatMap((card) => (card.labels.length
    ? card.labels.map(({ name, index, confidence }, rank) => [card.name, rank + 1, name, index, confidence, ""])
    : [[card.name, "", "", "", "", card.error]]));
  return [["file", "rank", "name", "index", "confidence", "error"], ...rows].map((row) => row.map(cell).join(",")).join("\r\n") + "\r\n";
}

export const asJson = (cards) => JSON.stringify(cards.map((card) => ({
  file: card.name, job: card.job?.id ?? null, labels: card.labels, error: card.error || null,
})), null, 2);

export const asText = (cards) => cards.map((card) => [
  card.name, first(card)?.name ?? card.error, first(card) ? first(card).confidence.toFixed(3) : "",
].join("\t")).join("\n");

export function save(name, type, text) {
  const url = URL.createObjectURL(new Blob([text], { type }));
  el("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 10_000);
}

/** Put a text into the clipboard; there is none for a page over plain HTTP from another machine, so by a field then. */
export async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const field = el("textarea", { value: text, className: "hidden" });
    document.body.append(field);
    field.select();
    document.execCommand("copy");
    field.remove();
  }
}
