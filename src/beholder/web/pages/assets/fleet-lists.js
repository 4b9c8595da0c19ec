// The lists of the dashboard: instances, decisions with the bounds that held, and what went wrong.

import { age, byId, dollars, el } from "./dom.js";

const TILES_MAX = 200;
const FOLLOWED_BY = { pending: "starting", in_service: "in service", draining: "draining" };

const nothing = (text) => el("li", { className: "nothing" }, text);
const time = (at) => el("time", { dateTime: at }, new Date(at).toLocaleTimeString());
const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function does(one) {
  if (one.state === "pending") return "Starting; it has not reported yet";
  if (one.state === "draining") return "Finishing what it has, then it ends";
  return one.is_busy ? "Recognising images" : "Waiting for images";
}

function tile(one) {
  const cost = one.price_per_hour ? `, ${dollars(one.price_per_hour)} an hour` : "";
  const kind = one.instance_type ? one.instance_type + (one.spot ? ", spot" : "") : "process of this machine";
  const heard = one.last_heartbeat_at ? `, reported at ${new Date(one.last_heartbeat_at).toLocaleTimeString()}` : "";
  return el("li", { className: `tile ${one.state} ${one.is_busy ? "busy" : ""}` },
    el("h3", {}, one.id),
    el("p", { className: "does" }, does(one)),
    el("p", {}, `${sentence(FOLLOWED_BY[one.state])}, ${age(one.age_s)} old${heard}`),
    el("p", {}, kind + cost));
}

export function showInstances({ instances, controller }) {
  const hidden = instances.length - TILES_MAX;
  const none = controller ? "No instance: none is needed now." : "No controller has decided yet.";
  byId("instances").replaceChildren(
    ...instances.slice(0, TILES_MAX).map(tile),
    ...(instances.length ? [] : [nothing(none)]), ...(hidden > 0 ? [nothing(`and ${hidden} more`)] : []));
}

const bound = ({ name, before, after, why }) => el("li", {}, el("b", {}, `Bound ${name}`), `, ${before} to ${after}: ${why}`);

export function showDecision({ controller, decision }) {
  if (!controller) return;
  const stale = controller.is_stale ? " No controller leads now." : "";
  byId("decision").replaceChildren(`${sentence(decision.reason)}${stale} `, time(controller.decided_at));
  byId("bounds").replaceChildren(...decision.bounds.map(bound));
}

export function showDecisions(decisions) {
  const lines = decisions.map((one) => el("li", {},
    el("p", {}, time(one.at), ` desired ${one.desired}${one.launched ? `, launched ${one.launched}` : ""}`),
    el("p", {}, sentence(one.reason)), ...one.bounds.map((held) => el("p", {}, ...bound(held).childNodes))));
  list("decisions", lines, "None in the last day.");
}

const told = ({ id, why }) => (id ? `${id}: ${why}` : sentence(why));

export function showTrouble({ failed_startups: failed, terminations, refusals }) {
  const lines = [...failed, ...terminations, ...refusals].sort((a, b) => (a.at < b.at ? 1 : -1));
  list("trouble", lines.map((one) => el("li", {}, time(one.at), ` ${told(one)}`)), "None.");
}

/** Show a list that scrolls; where it is long, the keyboard reaches it. */
function list(id, lines, none) {
  const node = byId(id);
  node.replaceChildren(...(lines.length ? lines : [nothing(none)]));
  if (node.scrollHeight > node.clientHeight) node.tabIndex = 0;
  else node.removeAttribute("tabindex");
}
