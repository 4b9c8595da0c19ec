// Dead letters: what was given up and why, and the way back.

import { byId, el, plural } from "./dom.js";
import { ask } from "./service.js";

const EVERY_MS = 60_000;
const DONE = { send: "is queued again", put_away: "is put away", leave: "stays" };

export class Letters {
  #given = undefined;
  #lookedMs = -Infinity;

  /** Look again if the service has given up more, and once a minute. */
  look(given) {
    if (given === this.#given && performance.now() - this.#lookedMs < EVERY_MS) return;
    this.#given = given;
    this.#lookedMs = performance.now();
    this.#show().catch(() => { this.#lookedMs = -Infinity; });  // the page says that nothing answers
  }

  async #show() {
    const { items, total } = await (await ask("/v1/dead-letters")).json();
    const hidden = total - items.length;
    byId("letters").replaceChildren(
      ...items.map((one) => this.#line(one)),
      ...(total ? [] : [el("li", { className: "nothing" }, "None.")]),
      ...(hidden > 0 ? [el("li", { className: "nothing" }, `and ${plural(hidden, "older letter")}`)] : []));
  }

  #line(one) {
    const name = one.file_name || one.id;
    const button = el("button", { type: "button", ariaLabel: `Send ${name} back` }, "Send back");
    button.addEventListener("click", () => this.#sendBack(one.id, name, button));
    return el("li", {}, el("p", {}, el("b", {}, name), ` ${one.reason} `, el("time", { dateTime: one.at }, new Date(one.at).toLocaleString())), button);
  }

  async #sendBack(id, name, button) {
    button.disabled = true;
    let said;
    try {
      const { action, reason } = await (await ask(`/v1/dead-letters/${encodeURIComponent(id)}/redrive`, { method: "POST" })).json();
      said = `${name} ${DONE[action]}: ${reason}`;
    } catch (failure) {
      said = `${name} was not sent: ${failure.message}`;
    }
    byId("letters-status").textContent = said;
    await this.#show().catch(() => { button.disabled = false; });
  }
}
