// The page for photos.

import { Card } from "./card.js";
import { byId, count, el } from "./dom.js";
import { isZip, ofDrop, ofFolder } from "./files.js";
import { reopened } from "./recognise.js";
import { remember, startHistory } from "./remembered.js";
import { asCsv, asJson, asText, copy, matches, save, sorted } from "./results.js";
import { Run } from "./run.js";
import { ask, hasKey, onKey } from "./service.js";
import { ofZip } from "./zip.js";

let cards = [], others = 0, bytesMax = Infinity, served = [];

// --- photos -----------------------------------------------------------------------------------------------------

const run = new Run({ options, bytesMax: () => bytesMax, modelOf, changed: showProgress, finished: (card) => { remember(card); arrange(); } });

function options() {
  const model = byId("model-choice").value;
  return { top_k: byId("top-k").value, ...(model ? { model } : {}) };
}

function modelOf(job) {
  return served.find(({ name, version }) => name === job.model && version === job.model_version);
}

function showProgress() {
  const photos = run.total === 1 ? "1 photo" : `${run.total} photos`;
  byId("status").textContent = (run.isBusy ? `${run.done} of ${photos} done` : photos)
    + (run.failed ? `, ${run.failed} could not be recognised` : "")
    + (others ? `, ${others} other ${others === 1 ? "file" : "files"} left out` : "");
  byId("progress").hidden = byId("pause").hidden = byId("cancel").hidden = !run.isBusy;
  byId("progress").max = run.total || 1;
  byId("progress").value = run.done;
  byId("pause").textContent = run.paused ? "Go on" : "Pause";
}

function begin(added) {
  cards = [...added, ...cards];
  document.body.classList.add("busy");
  byId("bar").hidden = byId("tools").hidden = false;
  arrange();
}

async function add({ photos, others: left }) {
  others += left;
  if (!photos.length && !left) return;
  const found = await Promise.all(photos.map((file) => (isZip(file) ? ofZip(file) : [file])));
  const added = found.flat().map((source) => new Card(source, source.name));
  begin(added);
  run.add(added);
}

/** Show the cards that are wanted in the order that is; nodes are moved only if an order was chosen. */
function arrange() {
  const order = byId("order").value, text = byId("filter").value, least = Number(byId("least").value);
  const wanted = sorted(cards, order);
  const list = byId("cards");
  if (list.children.length !== wanted.length || wanted.some((card, index) => list.children[index] !== card.node)) list.replaceChildren(...wanted.map((card) => card.node));
  for (const card of cards) card.node.hidden = !matches(card, text, least);
}

for (const id of ["order", "filter", "least"]) byId(id).addEventListener("input", arrange);
byId("files").addEventListener("change", ({ target }) => { add({ photos: Array.from(target.files), others: 0 }); target.value = ""; });
byId("folder").addEventListener("change", ({ target }) => { add(ofFolder(target.files)); target.value = ""; });
byId("drop").addEventListener("click", ({ target }) => { if (!target.closest("label, select")) byId("files").click(); });
byId("pause").addEventListener("click", () => run.pause(!run.paused));
byId("cancel").addEventListener("click", () => { run.cancel(); byId("clear").focus(); });
byId("clear").addEventListener("click", () => {
  run.clear();
  cards = []; others = 0;
  arrange();
  byId("bar").hidden = byId("tools").hidden = true;
  document.body.classList.remove("busy");
  history.replaceState(null, "", location.pathname);
  byId("files").focus();
});
addEventListener("paste", ({ clipboardData }) => add({ photos: Array.from(clipboardData.files), others: 0 }));
addEventListener("dragover", (event) => { event.preventDefault(); document.body.classList.add("over"); });
addEventListener("dragleave", (event) => { if (!event.relatedTarget) document.body.classList.remove("over"); });
addEventListener("drop", async (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  add(await ofDrop(event.dataTransfer));
});

// --- results ----------------------------------------------------------------------------------------------------

const shown = () => sorted(cards, byId("order").value).filter((card) => !card.node.hidden && (card.job || card.error));

function say(button, text) {
  const before = button.textContent;
  button.textContent = text;
  setTimeout(() => { button.textContent = before; }, 1500);
}

byId("csv").addEventListener("click", () => save("beholder.csv", "text/csv", asCsv(shown())));
byId("json").addEventListener("click", () => save("beholder.json", "application/json", asJson(shown())));
byId("copy-results").addEventListener("click", async ({ target }) => { await copy(asText(shown())); say(target, "Copied"); });
byId("copy").addEventListener("click", async ({ target }) => { await copy(byId("curl").textContent); say(target, "Copied"); });

// --- a job by its link --------------------------------------------------------------------------------------------

async function reopen() {
  const id = new URLSearchParams(location.hash.slice(1)).get("job");
  if (!id) return;
  const here = cards.find((card) => card.job?.id === id);
  if (here) { here.node.scrollIntoView({ block: "nearest" }); return; }
  const card = new Card(null, `Job ${id}`);
  begin([card]);
  card.busy("Looking");
  try {
    const job = await reopened(id, new AbortController().signal, () => card.busy("Queued"));
    card.name = job.input?.file_name || card.name;
    card.showJob(job, null);
  } catch (failure) {
    card.showFailure(failure.message, () => { cards = cards.filter((one) => one !== card); reopen(); });
  }
  arrange();
}

addEventListener("hashchange", reopen);

// --- about the service ----------------------------------------------------------------------------------------------

const formats = byId("bounds").textContent;

function showCurl() {
  const header = document.body.classList.contains("keyed") ? '-H "Authorization: Bearer $BEHOLDER_API_KEY" ' : "";
  byId("curl").textContent = `curl ${header}-F image=@photo.jpg '${location.origin}/v1/classify?top_k=5'`;
}

function showModels({ models }) {
  const [preset, ...rest] = served = models;
  byId("model").replaceChildren(preset.name, el("span", {}, `, ${count(preset.classes)} classes`));
  const known = [["", `${preset.name} (default)`], ...rest.map(({ name, version }) => [`${name}@${version}`, `${name}, ${version}`])];
  byId("model-choice").replaceChildren(...known.map(([value, text]) => el("option", { value }, text)));
  byId("model-part").hidden = !rest.length;
}

function showLimits({ image_bytes_max: max }) {
  bytesMax = max;
  byId("bounds").textContent = `${formats}, up to ${max / 1e6}\u00a0MB`;
}

/** Ask for what the page works without. */
async function told(path, tell) {
  try { tell(await (await ask(path)).json()); } catch { showCurl(); }
}

function introduce() {
  if (hasKey()) document.body.classList.add("keyed");
  showCurl();
  told("/v1/models", showModels);
  told("/v1/limits", showLimits);
}

onKey(() => { introduce(); });
startHistory();
introduce();
reopen();
