// One photo on the page: what is known of it, and how that looks.

import { el, ms, percent } from "./dom.js";
import { outline } from "./outline.js";

const kindOf = (name) => (/\.\w{1,5}$/.test(name) ? name.split(".").pop().toUpperCase() : "no preview");

function thumbnail(file) {
  const box = el("div", { className: "thumb" });
  const url = URL.createObjectURL(file);
  const image = el("img", { alt: "", decoding: "async", loading: "lazy", src: url });
  image.onload = () => URL.revokeObjectURL(url);
  image.onerror = () => {
    URL.revokeObjectURL(url);
    box.replaceChildren(kindOf(file.name));
  };
  box.append(image);
  return box;
}

function labelRow({ name, confidence }) {
  const fill = el("span");
  fill.style.setProperty("--share", confidence);
  const track = el("span", { className: "track" }, fill);
  return el("li", {}, el("span", { className: "name" }, name), el("span", { className: "share" }, percent(confidence)), track);
}

export class Card {
  /**
   * `source` is a file, or what has an `open` that returns one, as the photos in a zip have; it is null for a job that
   * is opened by its link, whose photo is not here.
   */
  constructor(source, name) {
    this.source = source;
    this.name = name;
    this.job = null;
    this.error = "";
    this.body = el("div", { className: "text" });
    this.thumb = source instanceof File ? thumbnail(source) : el("div", { className: "thumb" }, kindOf(name));
    this.article = el("article", { className: "card" }, ...(source ? [this.thumb] : []), this.body);
    this.node = el("li", {}, this.article);
  }

  /** Return the photo, and show it. */
  async open(bytesMax) {
    if (this.source instanceof File) return this.source;
    const file = await this.source.open(bytesMax), thumb = thumbnail(file);
    this.thumb.replaceWith(thumb);
    this.thumb = thumb;
    return file;
  }

  get labels() {
    return this.job?.result?.labels ?? [];
  }

  busy(text) {
    this.job = null;
    this.error = "";
    this.article.classList.remove("line");
    this.article.setAttribute("aria-busy", "true");
    this.#show(el("p", { className: "note" }, text));
  }

  /** `model` is the one that the job names, of `GET /v1/models`; undefined if that does not list it. */
  showJob(job, tookMs, model) {
    this.job = job;
    this.#done();
    if (model) this.#outline(model);
    const took = tookMs === null ? new Date(job.created_at).toLocaleString() : ms(tookMs);
    const inside = job.metrics ? `queue ${ms(job.metrics.queue_ms)}, infer ${ms(job.metrics.infer_ms)}` : "";
    this.#show(
      this.labels.length ? el("ol", { className: "labels" }, ...this.labels.map(labelRow)) : el("p", {}, "Nothing it is sure of."),
      el("p", { className: "note" }, el("span", {}, took), el("span", {}, inside)));
  }

  showFailure(text, tryAgain) {
    this.error = text;
    this.#done();
    this.article.classList.add("line");
    const again = tryAgain ? [el("button", { type: "button", className: "again", onclick: tryAgain }, "Try again")] : [];
    this.#show(el("p", { className: "failed" }, text), ...again);
  }

  async #outline(model) {
    const image = this.thumb.querySelector("img");
    // Lazy images below the screen are not loaded yet; a file that the browser cannot show has none.
    if (!image) return;
    if (!image.complete) await new Promise((go) => { image.addEventListener("load", go); });
    if (image.naturalWidth) image.parentNode?.replaceChildren(image, outline(model, image));
  }

  #done() {
    this.article.setAttribute("aria-busy", "false");
  }

  #show(...parts) {
    const name = this.job?.id ? el("a", { href: `#job=${this.job.id}` }, this.name) : this.name;
    this.body.replaceChildren(el("h2", { title: this.job?.id ? "Link to this result" : this.name }, name), ...parts);
  }
}
