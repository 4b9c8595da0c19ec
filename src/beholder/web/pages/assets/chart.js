// A chart over time, drawn by uPlot in the colours of the page.

/* global uPlot */
import { count } from "./dom.js";

const HEIGHT = 190;

export class Chart {
  #node; #series; #plot = null; #data = null; #range = null;

  /** `series` is a list of [name of the column, label, name of the colour]. */
  constructor(node, series) {
    this.#node = node;
    this.#series = series;
    new ResizeObserver(() => this.#plot?.setSize(this.#size())).observe(node);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => { this.#plot?.destroy(); this.#plot = null; this.#draw(); });
  }

  show(columns, range) {
    this.#data = [columns.at_s, ...this.#series.map(([name]) => columns[name])];
    this.#range = range;
    this.#draw();
    const now = this.#series.map(([name, label]) => `${label} ${columns[name].length ? count(columns[name].at(-1)) : "unknown"}`);
    this.#node.setAttribute("aria-label", `${this.#node.dataset.name}, now: ${now.join(", ")}`);
  }

  #size() {
    return { width: Math.max(200, this.#node.clientWidth), height: HEIGHT };
  }

  #draw() {
    if (!this.#data) return;
    if (this.#plot) this.#plot.setData(this.#data, false);
    else {
      this.#plot = new uPlot(this.#options(), this.#data, this.#node);
    }
    this.#plot.setScale("x", this.#range);
  }

  #options() {
    const colours = getComputedStyle(document.documentElement);
    const colour = (name) => colours.getPropertyValue(`--${name}`).trim();
    const axis = { stroke: colour("muted"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
    return {
      ...this.#size(),
      cursor: { y: false, drag: { x: false, y: false } },
      scales: { x: { time: true, auto: false }, y: { range: (_, __, max) => [0, Math.max(1, max * 1.1)] } },
      axes: [{ ...axis, space: 70 }, { ...axis, size: 52, incrs: [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6] }],
      series: [
        { value: (_, atS) => (atS == null ? "" : new Date(atS * 1000).toLocaleTimeString()) },
        ...this.#series.map(([, label, name], index) => ({
          label, stroke: colour(name), width: index ? 1.5 : 2, paths: uPlot.paths.stepped({ align: 1 }), points: { show: false },
          value: (_, value) => (value == null ? "–" : count(value)),
        })),
      ],
    };
  }
}
