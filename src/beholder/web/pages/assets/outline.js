// What of a photo the model saw, drawn over the whole photo.

const SVG = "http://www.w3.org/2000/svg";

function shape(tag, attributes, ...children) {
  const node = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** Return the part of an upright photo that a model of `GET /v1/models` sees, in pixels. */
export function seenPart({ preprocessing, crop_fraction: fraction }, width, height) {
  const isSquare = preprocessing === "centre-crop", shorter = Math.min(width, height);
  const [w, h] = [isSquare ? shorter : width, isSquare ? shorter : height].map((side) => Math.max(1, Math.floor(fraction * side)));
  return { x: (width - w) / 2, y: (height - h) / 2, width: w, height: h };
}

function inWords({ preprocessing, crop_fraction: fraction }) {
  const share = `${Math.round(fraction * 100)}\u00a0%`;
  if (preprocessing === "centre-crop") return `The model saw the square in the centre, ${share} of the shorter side.`;
  const part = fraction < 1 ? `the middle ${share} of each side` : "the whole photo";
  return `The model saw ${part}${preprocessing === "stretch" ? ", squeezed into a square" : ""}.`;
}

/** Return the outline of what a model saw of an image that is shown whole (`object-fit: contain`) in the same box. */
export function outline(model, { naturalWidth: width, naturalHeight: height }) {
  const { x, y, width: w, height: h } = seenPart(model, width, height);
  const title = inWords(model);
  return shape("svg", { viewBox: `0 0 ${width} ${height}`, class: "outline", role: "img", "aria-label": title },
    shape("title", {}, title),
    shape("path", { class: "unseen", "fill-rule": "evenodd", d: `M0 0H${width}V${height}H0ZM${x} ${y}h${w}v${h}h${-w}Z` }),
    shape("rect", { class: "edge", x, y, width: w, height: h }), shape("rect", { class: "seen", x, y, width: w, height: h }));
}
