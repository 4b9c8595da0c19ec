// What the charts draw: the history of the service, and behind it what this page has seen since.

const COLUMNS = ["at_s", "backlog", "in_flight", "desired", "pending", "in_service", "draining", "arrivals_per_s", "price_per_hour"];
const LIVE_MAX = 900;
// A point holds until the next, but no longer than the service lets pass without one.
const HOLDS_S = 300;

export class History {
  #stored = empty();
  #live = [];

  store(points) {
    this.#stored = points;
  }

  add(point) {
    this.#live.push(point);
    if (this.#live.length > LIVE_MAX) this.#live.shift();
  }

  /** Return all points in columns. */
  columns() {
    const begin = this.#live.length ? this.#live[0].at_s : Infinity;
    const end = this.#stored.at_s.findIndex((atS) => atS >= begin);
    const old = end < 0 ? this.#stored.at_s.length : end;
    return Object.fromEntries(COLUMNS.map((name) => [
      name, [...this.#stored[name].slice(0, old), ...this.#live.map((point) => point[name])],
    ]));
  }

  /** Return the sum over time of a column since a moment: dollars of a price per hour, messages of a rate. */
  sum(name, sinceS, nowS, perS) {
    const { at_s: at, [name]: values } = this.columns();
    return at.reduce((total, atS, index) => {
      const until = Math.min(at[index + 1] ?? nowS, atS + HOLDS_S, nowS);
      return total + values[index] * Math.max(0, until - Math.max(atS, sinceS)) / perS;
    }, 0);
  }
}

function empty() {
  return Object.fromEntries(COLUMNS.map((name) => [name, []]));
}
