// All photos that wait for their turn: four at once, with pause and cancel.

import { cancelJob, inWords, recognise } from "./recognise.js";
import { Failure } from "./service.js";

const AT_ONCE = 4;

export class Run {
  total = 0; done = 0; failed = 0; paused = false;
  #waiting = []; #running = new Map(); #stopped = new AbortController();

  /** `changed` is called after each change, `finished` with each card that has its labels; `options` returns those of a request, `modelOf` the model of a job. */
  constructor({ options, bytesMax, modelOf, changed, finished }) {
    Object.assign(this, { options, bytesMax, modelOf, changed, finished });
  }

  get isBusy() {
    return this.done < this.total;
  }

  add(cards) {
    this.total += cards.length;
    this.#enqueue(cards);
  }

  pause(paused) {
    this.paused = paused;
    this.#pump();
  }

  /** Leave what is not finished as it is, and tell the service. */
  cancel() {
    const left = [...this.#running.keys(), ...this.#waiting];
    for (const job of this.#running.values()) if (job) cancelJob(job.id);
    this.#stop();
    for (const card of left) this.#fail(card, "Canceled.", true);
    this.paused = false;
    this.changed();
  }

  /** Forget everything. */
  clear() {
    for (const job of this.#running.values()) if (job) cancelJob(job.id);
    this.#stop();
    this.total = this.done = this.failed = 0;
    this.paused = false;
    this.changed();
  }

  #stop() {
    this.#stopped.abort();
    this.#stopped = new AbortController();
    this.#waiting = [];
    this.#running = new Map();
  }

  #enqueue(cards) {
    this.#waiting.push(...cards);
    for (const card of cards) card.busy("Waiting");
    this.#pump();
  }

  #pump() {
    while (!this.paused && this.#running.size < AT_ONCE && this.#waiting.length) {
      const card = this.#waiting.shift(), { signal } = this.#stopped;
      this.#running.set(card, null);
      this.#one(card, signal).then(() => {
        if (signal.aborted) return;
        this.#running.delete(card);
        this.#pump();
      });
    }
    this.changed();
  }

  async #one(card, signal) {
    const startMs = performance.now();
    card.busy("Looking");
    try {
      const told = (job) => { this.#running.set(card, job); card.busy("Queued"); };
      const file = await card.open(this.bytesMax());
      signal.throwIfAborted();
      const job = await recognise(file, this.options(), this.bytesMax(), signal, told);
      card.showJob(job, performance.now() - startMs, this.modelOf(job));
      this.done += 1;
      this.finished(card);
    } catch (reason) {
      if (signal.aborted) return;
      const known = reason instanceof Failure;
      const text = known ? inWords({ code: reason.code, detail: reason.message }) : "The service's answer cannot be read.";
      this.#fail(card, text, !known || reason.mayTryAgain);
    }
  }

  #fail(card, text, mayTryAgain) {
    this.done += 1;
    this.failed += 1;
    card.showFailure(text, mayTryAgain && (() => { this.done -= 1; this.failed -= 1; this.#enqueue([card]); }));
  }
}
