// What every page needs of the document, and the forms of numbers and times.

export const byId = (id) => document.getElementById(id);

// Every text of the service or of a file's name goes in as a text node; nothing is ever parsed as HTML.
export const el = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};

export const ms = (value) => (value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString("en")) + " ms";
export const percent = (share) => (share < 0.01 ? "< 1 %" : `${Math.round(share * 100)} %`);
export const count = (value) => Math.round(value).toLocaleString("en");
export const plural = (value, word) => `${count(value)} ${word}${value === 1 ? "" : "s"}`;

export function seconds(value) {
  return value < 1 ? ms(value * 1000) : `${value.toFixed(value < 10 ? 1 : 0)} s`;
}

export function age(value) {
  if (value < 60) return `${Math.round(value)} s`;
  if (value < 3600) return `${Math.round(value / 60)} min`;
  return value < 86400 ? `${(value / 3600).toFixed(1)} h` : `${(value / 86400).toFixed(1)} days`;
}

export function dollars(value) {
  return `$${value.toFixed(value < 1 ? 3 : 2)}`;
}
