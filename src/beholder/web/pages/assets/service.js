// Requests to the service, with the API key of this tab where it wants one.

import { byId } from "./dom.js";

const STORED = "beholder-api-key";
let key = "";
try { key = sessionStorage.getItem(STORED) || ""; } catch { /* The browser stores nothing; the page keeps it. */ }

export class Failure extends Error {
  constructor(detail, { status = 0, code = "", mayTryAgain = false } = {}) {
    super(detail);
    Object.assign(this, { status, code, mayTryAgain });
  }
}

export const hasKey = () => Boolean(key);

/** Return the answer to a request; a Failure says in words why there is none. */
export async function ask(path, options = {}) {
  const sent = key;
  const headers = { ...options.headers, ...(key ? { authorization: `Bearer ${key}` } : {}) };
  let response;
  try {
    response = await fetch(path, { ...options, headers });
  } catch (reason) {
    if (options.signal?.aborted && options.signal.reason === reason) throw reason;
    throw new Failure("The service does not answer. Is it still running?", { mayTryAgain: true });
  }
  if (response.ok) return response;
  const { status } = response;
  const problem = await response.json().catch(() => ({}));
  const detail = problem.detail || `The service answered ${status}.`;
  if (status === 401 || problem.code === "scope_missing") needKey(detail, sent);
  throw new Failure(detail, { status, code: problem.code, mayTryAgain: status >= 500 || status === 401 });
}

function needKey(why, sent) {
  if (sent !== key) return;  // The answer to an earlier key.
  document.body.classList.add("keyed");
  byId("key-form").hidden = false;
  byId("key-why").textContent = key ? why : "This service asks for an API key. The page keeps it until you close the tab.";
}

/** Call `changed` whenever the person has entered a key. */
export function onKey(changed) {
  byId("key-form").addEventListener("submit", (event) => {
    event.preventDefault();
    key = byId("key").value.trim();
    try { sessionStorage.setItem(STORED, key); } catch { /* As above. */ }
    byId("key").value = "";
    byId("key-form").hidden = true;
    changed();
  });
}
