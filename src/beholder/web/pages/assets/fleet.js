// The dashboard: asks every two seconds, while it is seen, and says so when no answer comes.

import { Chart } from "./chart.js";
import { byId, count, dollars, el, seconds } from "./dom.js";
import { showDecision, showDecisions, showInstances, showTrouble } from "./fleet-lists.js";
import { History } from "./history.js";
import { Letters } from "./letters.js";
import { Growth, readMetrics } from "./metrics.js";
import { ask, onKey } from "./service.js";

const EVERY_MS = 2000;
const HISTORY_EVERY_MS = 60_000;
const ANSWER_MS_MAX = 10_000;
const DAY_S = 86_400;

const history = new History(), growth = new Growth(), letters = new Letters();
const charts = [
  [new Chart(byId("instances-chart"), [["in_service", "in service", "one"], ["desired", "desired", "two"], ["pending", "starting", "three"], ["draining", "draining", "four"]])],
  [new Chart(byId("queue-chart"), [["backlog", "waiting", "one"], ["in_flight", "in work", "two"]])],
  [new Chart(byId("demand-chart"), [["arrivals_per_s", "images a second", "one"]])],
].flat();

let rangeS = 900, timer = 0, askedHistoryMs = -Infinity, shown = "", last = null;

// --- asking ---------------------------------------------------------------------------------------------------

const get = (path) => ask(path, { signal: AbortSignal.timeout(ANSWER_MS_MAX) });

async function look() {
  clearTimeout(timer);
  if (document.hidden) return;
  try {
    const [fleet, metrics] = await Promise.all([get("/v1/fleet").then((answer) => answer.json()), get("/metrics").then((answer) => answer.text())]);
    if (performance.now() - askedHistoryMs > HISTORY_EVERY_MS) {
      const past = await (await get("/v1/fleet/history")).json();
      history.store(past.points);
      showDecisions(past.decisions);
      askedHistoryMs = performance.now();
    }
    show(fleet, readMetrics(metrics));
    sign("is-live", "Live");
  } catch (failure) {
    sign("is-lost", `Paused: ${failure.name === "TimeoutError" ? "the service does not answer." : failure.message}`);
  }
  clearTimeout(timer);
  timer = setTimeout(look, EVERY_MS);
}

/** Show whether what is shown is of now; a screen reader speaks it only when it changes. */
function sign(name, text) {
  if (shown === name + text) return;
  shown = name + text;
  document.body.classList.remove("is-live", "is-lost");
  document.body.classList.add(name);
  byId("live").textContent = text;
}

// --- showing --------------------------------------------------------------------------------------------------

function show(fleet, samples) {
  const nowS = Date.now() / 1000;
  growth.add(performance.now() / 1000, samples);
  const depth = (state) => samples.get(`beholder_queue_depth{state="${state}"}`) ?? fleet.queue?.[state] ?? 0;
  last = {
    at_s: nowS, backlog: depth("backlog"), in_flight: depth("in_flight"), desired: fleet.desired ?? 0, ...fleet.states,
    arrivals_per_s: fleet.decision?.forecast.arrivals_per_s ?? 0, price_per_hour: fleet.price_per_hour,
  };
  history.add(last);
  showFigures(fleet, nowS);
  showDecision(fleet);
  showInstances(fleet);
  showTrouble(fleet);
  drawCharts();
  letters.look(samples.get("beholder_dead_letters_total"));
}

function showFigures(fleet, nowS) {
  const ended = growth.rate((name) => /^beholder_jobs_total\{state="(succeeded|failed|expired)"\}$/.test(name));
  const latency = (share) => growth.quantile("beholder_job_latency_seconds", share);
  const known = (value, form) => (value === null ? "–" : form(value));
  const figures = [
    ["images a second", known(ended, (value) => value.toFixed(1))],
    ["median latency", known(latency(0.5), seconds)],
    ["latency of 95 in 100", known(latency(0.95), seconds)],
    ["images waiting", count(last.backlog)],
    ["images in work", count(last.in_flight)],
    ["in service", `${fleet.states.in_service}`],
    ["starting", `${fleet.states.pending}`],
    ["draining", `${fleet.states.draining}`],
    ["desired", fleet.desired === null ? "–" : `${fleet.desired}`],
    ...costs(fleet, nowS),
  ];
  const rows = figures.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value)));
  byId("figures").replaceChildren(...rows);
}

/** Return what the instances cost, where a price is known. */
function costs(fleet, nowS) {
  const day = history.sum("price_per_hour", nowS - DAY_S, nowS, 3600);
  if (!fleet.price_per_hour && !day) return [];
  const today = history.sum("price_per_hour", new Date().setHours(0, 0, 0, 0) / 1000, nowS, 3600);
  const images = history.sum("arrivals_per_s", nowS - DAY_S, nowS, 1);
  return [
    ["workers, an hour", dollars(fleet.price_per_hour)],
    ["workers, today", dollars(today)],
    ["per 1,000 images in 24 h", images < 1 ? "–" : dollars((day / images) * 1000)],
  ];
}

function drawCharts() {
  const nowS = Date.now() / 1000;
  for (const chart of charts) chart.show(history.columns(), { min: nowS - rangeS, max: nowS });
}

byId("ranges").addEventListener("click", ({ target }) => {
  if (!target.value) return;
  rangeS = Number(target.value);
  for (const button of byId("ranges").children) button.setAttribute("aria-pressed", String(button === target));
  if (last) drawCharts();
});
document.addEventListener("visibilitychange", look);
addEventListener("online", look);
onKey(look);
look();
