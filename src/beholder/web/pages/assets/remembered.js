// What this browser has seen: names and labels of the last photos, never the photos or a key.

import { byId, el, percent } from "./dom.js";

const STORED = "beholder-history";
const KEPT = 60;

function read() {
  try {
    const found = JSON.parse(localStorage.getItem(STORED));
    return Array.isArray(found) ? found : [];
  } catch {
    return [];  // It stores nothing, or something else is there.
  }
}

function show(seen) {
  byId("earlier").hidden = !seen.length;
  byId("earlier-list").replaceChildren(...seen.map((one) => el("li", {},
    el("a", { href: `#job=${one.id}` }, one.name), ` ${one.label}${one.label ? `, ${percent(one.confidence)}` : ""} `,
    el("time", { dateTime: one.at }, new Date(one.at).toLocaleString()))));
}

export function remember({ job, name, labels }) {
  if (!job.id) return;
  const one = { id: job.id, name, label: labels[0]?.name ?? "", confidence: labels[0]?.confidence ?? 0, at: new Date().toISOString() };
  const seen = [one, ...read().filter(({ id }) => id !== job.id)].slice(0, KEPT);
  try { localStorage.setItem(STORED, JSON.stringify(seen)); } catch { /* There is no room, or none is given. */ }
  show(seen);
}

export function startHistory() {
  byId("forget").addEventListener("click", () => {
    try { localStorage.removeItem(STORED); } catch { /* Nothing was stored. */ }
    show([]);
    byId("files").focus();
  });
  show(read());
}
