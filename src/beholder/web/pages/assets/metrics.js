// Figures of the last half minute, from texts in Prometheus's form.

const WINDOW_S = 30;
const GONE_S = 60;

/** Return the value of each series of a text, by its name with its labels. */
export function readMetrics(text) {
  const found = new Map();
  for (const line of text.split("\n")) {
    const space = line.lastIndexOf(" ");
    if (space > 0 && line[0] !== "#") found.set(line.slice(0, space), Number(line.slice(space + 1)));
  }
  return found;
}

/** Keeps the last texts of each web process, which its start tells apart, and adds up what has grown. */
export class Growth {
  #processes = new Map();

  add(atS, samples) {
    const start = samples.get("process_start_time_seconds");
    const kept = (this.#processes.get(start) || []).filter((one) => atS - one.atS <= WINDOW_S);
    this.#processes.set(start, [...kept, { atS, samples }]);
    for (const [name, looks] of this.#processes) if (atS - looks.at(-1).atS > GONE_S) this.#processes.delete(name);
  }

  /** Return how much the series that `matches` accepts have grown, by name; `perSecond` divides by the time. */
  #grown(matches, perSecond) {
    const grown = new Map();
    for (const looks of this.#processes.values()) {
      const [first, last] = [looks[0], looks.at(-1)];
      if (first === last) continue;
      const by = perSecond ? last.atS - first.atS : 1;
      for (const [name, value] of last.samples) {
        if (matches(name)) grown.set(name, (grown.get(name) || 0) + (value - (first.samples.get(name) || 0)) / by);
      }
    }
    return grown;
  }

  /** Return the growth per second over all series; null before the second look. */
  rate(matches) {
    if (![...this.#processes.values()].some((looks) => looks.length > 1)) return null;
    return [...this.#grown(matches, true).values()].reduce((sum, value) => sum + value, 0);
  }

  /** Return a quantile of a histogram as Prometheus estimates it; null if nothing was observed. */
  quantile(name, share) {
    const begin = `${name}_bucket{le="`;
    const buckets = [...this.#grown((one) => one.startsWith(begin), false)]
      .map(([series, number]) => [series.slice(begin.length, -2) === "+Inf" ? Infinity : Number(series.slice(begin.length, -2)), number])
      .sort((a, b) => a[0] - b[0]);
    const total = buckets.length ? buckets.at(-1)[1] : 0;
    if (total <= 0) return null;
    let lowS = 0, below = 0;
    for (const [highS, number] of buckets) {
      if (highS === Infinity) break;
      if (number >= share * total) return lowS + (highS - lowS) * (share * total - below) / (number - below);
      [lowS, below] = [highS, number];
    }
    return lowS;
  }
}
