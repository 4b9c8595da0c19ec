const api = JSON.parse(document.getElementById("openapi").textContent);
const byId = (id) => document.getElementById(id);
// Everything goes in as text nodes; nothing is ever parsed as HTML.
const el = (tag, properties = {}, ...children) => {
  const node = Object.assign(document.createElement(tag), properties);
  node.append(...children);
  return node;
};
const code = (text) => el("code", {}, text);
const at = (reference) => reference.slice(2).split("/").reduce((node, name) => node[name], api);
const known = (node) => (node.$ref ? known(at(node.$ref)) : node);
const json = (value) => JSON.stringify(value, null, 2);

// --- texts: paragraphs, headings, tables, `code` and *emphasis* of Markdown ----------------------------------

const inline = (text) => text.split(/(`[^`]+`|\*[^*]+\*)/).map((part) =>
  part[0] === "`" ? code(part.slice(1, -1)) : part[0] === "*" ? el("em", {}, part.slice(1, -1)) : part);
const cells = (tag, line) => line.split("|").slice(1, -1).map((cell) => el(tag, {}, ...inline(cell.trim())));
const table = ([head, , ...rows]) => el("div", { className: "table", tabIndex: 0, role: "region", ariaLabel: "Error codes" },
  el("table", {}, el("thead", {}, el("tr", {}, ...cells("th", head))),
    el("tbody", {}, ...rows.map((row) => el("tr", {}, ...cells("td", row))))));
const block = (text) => {
  if (text.startsWith("## ")) return el("h2", { id: text.slice(3).toLowerCase() }, text.slice(3));
  return text.startsWith("|") ? table(text.split("\n")) : el("p", {}, ...inline(text));
};

// --- schemas -----------------------------------------------------------------------------------------------

const joined = (parts, by) => parts.flatMap((part, index) => (index ? [by, ...part] : part));

function type(schema) {
  if (schema.$ref) { const name = schema.$ref.split("/").pop(); return [el("a", { href: `#schema-${name}` }, name)]; }
  if (schema.anyOf && !schema.properties) return joined(schema.anyOf.map(type), " or ");
  if (schema.allOf) return type(schema.allOf[0]);
  if ("const" in schema) return [`"${schema.const}"`];
  if (schema.type === "array") return ["array of ", ...type(schema.items)];
  const kinds = [].concat(schema.type || (schema.enum ? "string" : "any")).join(" or ");
  const bounds = [
    schema.format && schema.format !== "binary" ? schema.format : "",
    schema.minimum !== undefined && schema.maximum !== undefined ? `${schema.minimum} to ${schema.maximum}` : "",
    schema.maxLength && schema.format !== "binary" ? `at most ${schema.maxLength} characters` : "",
    schema.default !== undefined ? `default ${schema.default}` : "",
  ];
  return [[schema.format === "binary" ? "file" : kinds, ...bounds].filter(Boolean).join(", ")];
}

const row = (name, kind, required, ...about) => el("div", {},
  el("dt", {}, code(name), el("small", {}, ...kind), ...(required ? [el("span", { className: "required" }, "required")] : [])),
  el("dd", {}, ...about));

const choices = (schema) => (schema.enum ? [" One of ", ...joined(schema.enum.map((one) => [code(String(one))]), ", "), "."] : []);

function members(schema, prefix = "") {
  return Object.entries(schema.properties || {}).flatMap(([name, member]) => {
    const inner = [member, ...(member.anyOf || [])].find((one) => one.properties);
    return [
      row(prefix + name, type(member), false, ...inline(member.description || ""), ...choices(member)),
      ...(inner ? members(inner, `${prefix}${name}.`) : []),
    ];
  });
}

const schemaSection = () => el("section", { id: "schemas" }, el("h2", {}, "Schemas"),
  el("p", { className: "tag" }, "What requests and answers are made of."),
  ...Object.entries(api.components.schemas).map(([name, schema]) => el("article", { id: `schema-${name}` },
    el("h3", {}, el("span", { className: "path" }, name)), el("p", {}, schema.description || ""), el("dl", {}, ...members(schema)))));

// --- an endpoint -------------------------------------------------------------------------------------------

// --- the API key: the one of the index page, kept for this tab only -------------------------------------------

const STORED = "beholder-api-key";
let key = "";
try { key = sessionStorage.getItem(STORED) || ""; } catch { /* The browser stores nothing; the page keeps it. */ }

function keyPart() {
  const input = el("input", { type: "password", autocomplete: "off", spellcheck: false, value: key, oninput: () => {
    key = input.value.trim();
    try { sessionStorage.setItem(STORED, key); } catch { /* As above. */ }
  } });
  return el("div", { className: "try" }, el("label", { id: "key" }, "API key, kept until you close the tab", input));
}

const quote = (text) => (/^[\w@%+=:,./-]+$/.test(text) ? text : `'${text.replaceAll("'", "'\\''")}'`);

function request(path, method, inputs) {
  const query = new URLSearchParams(), headers = {}, form = new FormData();
  let url = path, file = null;
  for (const { spec, input } of inputs) {
    const value = input.value.trim();
    if (spec.in === "body") { file = spec.name; for (const one of input.files) form.append(spec.name, one); continue; }
    if (spec.in === "path") url = url.replace(`{${spec.name}}`, encodeURIComponent(value || spec.example));
    else if (value && spec.in === "query") query.set(spec.name, value);
    else if (value) headers[spec.name] = value;
  }
  url += query.size ? `?${query}` : "";
  const line = ["curl", ...(api.paths[path][method].security ? ["-H", '"Authorization: Bearer $BEHOLDER_API_KEY"'] : []), ...(file ? ["-F", `${file}=@photo.jpg`] : []),
    ...Object.entries(headers).flatMap(([name, value]) => ["-H", quote(`${name}: ${value}`)]), quote(location.origin + url)];
  return { url, options: { method: method.toUpperCase(), headers, ...(file ? { body: form } : {}) }, curl: line.join(" ") };
}

function field(spec) {
  const schema = imageOf(spec.schema) || known(spec.schema);
  const input = schema.enum ? el("select", {}, ...["", ...schema.enum].map((one) => el("option", {}, one)))
    : el("input", { type: schema.format === "binary" ? "file" : "text", autocomplete: "off", spellcheck: false,
      placeholder: String(spec.example ?? schema.default ?? "") });
  if (input.type === "file") { input.accept = "image/*"; input.multiple = schema !== spec.schema; }
  return { spec, input, label: el("label", {}, spec.name, input) };
}

async function send({ url, options }, output) {
  output.replaceChildren(el("p", { className: "muted" }, "Waiting for the answer"));
  const startMs = performance.now();
  try {
    const sent = key ? { ...options.headers, authorization: `Bearer ${key}` } : options.headers;
    const response = await fetch(url, { ...options, headers: sent });
    let text = await response.text();
    const tookMs = Math.round(performance.now() - startMs);
    try { text = json(JSON.parse(text)); } catch { /* It is no JSON and is shown as it came. */ }
    const headers = ["content-type", "location", "retry-after", "preference-applied", "x-job-id", "x-request-id"]
      .filter((name) => response.headers.has(name)).map((name) => `${name}: ${response.headers.get(name)}`);
    output.replaceChildren(el("p", { className: "muted" }, `${response.status} ${response.statusText}, ${tookMs} ms`),
      el("pre", { tabIndex: 0 }, `${headers.join("\n")}\n\n${text.slice(0, 20000)}`));
  } catch {
    output.replaceChildren(el("p", { className: "required" }, "The service does not answer. Is it still running?"));
  }
}

// A header without an example is one that machines send.
const isForPeople = (spec) => spec.in !== "header" || "example" in spec;

const formOf = (body) => body?.content["multipart/form-data"]?.schema;
// A field that takes an image, or also several.
const imageOf = (schema) => (schema.anyOf || [schema]).find((one) => one.format === "binary");

function tryIt(path, method, operation) {
  const specs = (operation.parameters || []).map(known);
  const form = formOf(operation.requestBody);
  // Only other programs' clients write such a body.
  if (operation.requestBody && !form) return [];
  const image = form && Object.entries(form.properties).find(([, schema]) => imageOf(schema));
  const inputs = [...(image ? [{ name: image[0], in: "body", schema: image[1] }] : []), ...specs.filter(isForPeople)].map(field);
  const line = el("pre", {});
  const show = () => { line.textContent = request(path, method, inputs).curl; };
  const copy = el("button", { type: "button", onclick: () => copyText(line, copy) }, "Copy");
  const output = el("div", { className: "wide", ariaLive: "polite" });
  const body = el("form", { oninput: show, onsubmit: (event) => { event.preventDefault(); send(request(path, method, inputs), output); } },
    ...inputs.map((one) => one.label), el("button", { className: "send wide" }, "Send"));
  show();
  return [el("div", { className: "curl" }, line, copy), el("details", { className: "try" }, el("summary", {}, "Try it"), body, output)];
}

async function copyText(source, button) {
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {  // There is no clipboard for a page over plain HTTP from another machine.
    getSelection().selectAllChildren(source);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => { button.textContent = "Copy"; }, 1500);
}

function responsePart([status, response]) {
  const contents = Object.entries(response.content || {});
  const codes = contents.flatMap(([, media]) => Object.entries(media.examples || {}));
  const example = contents.map(([, media]) => media.example).find((one) => one !== undefined && typeof one === "object");
  // Every answer has x-request-id, and the introduction says so.
  const headers = Object.entries(response.headers || {}).filter(([name]) => name !== "x-request-id").map(([name, header]) => row(name, ["header"], false, known(header).description));
  return el("details", { className: "response" },
    el("summary", {}, el("b", { className: /^[45]/.test(status) ? "bad" : "" }, status), ...inline(response.description)),
    el("p", { className: "muted" }, ...joined(contents.map(([name, media]) => [`${name}: `, ...type(media.schema)]), ", ")),
    el("dl", {}, ...headers, ...codes.map(([name, one]) => row(name, ["code"], false, one.summary))),
    ...(example ? [el("pre", { tabIndex: 0 }, json(example))] : []));
}

function bodyPart(body) {
  const form = formOf(body);
  const fields = !form ? members(known(Object.values(body.content)[0].schema)) : Object.entries(form.properties).map(([name, schema]) => row(name, ["form field, ", ...type(schema)], false,
    imageOf(schema) ? "The image; one of these is required." : "As in the query."));
  return [el("h4", {}, "Body"), el("p", {}, ...inline(body.description || "")), el("p", { className: "muted" }, Object.keys(body.content).join(", ")),
    el("dl", {}, ...fields)];
}

function endpoint(path, method, operation) {
  const parameters = (operation.parameters || []).map(known);
  return el("article", { id: operation.operationId },
    el("h3", {}, el("span", { className: "method" }, method.toUpperCase()), el("a", { className: "path", href: `#${operation.operationId}` }, path)),
    el("p", {}, el("strong", { style: "font-weight: 500" }, operation.summary), " ", ...inline(operation.description || "")),
    ...tryIt(path, method, operation),
    el("h4", {}, "Parameters"),
    el("dl", {}, ...parameters.map((one) => row(one.name, [`${one.in}, `, ...type(one.schema)], one.required, ...inline(one.description), ...choices(one.schema)))),
    ...(operation.requestBody ? bodyPart(operation.requestBody) : []),
    el("h4", {}, "Responses"),
    ...Object.entries(operation.responses).map(responsePart));
}

// --- the page ----------------------------------------------------------------------------------------------

const all = Object.entries(api.paths).flatMap(([path, item]) => Object.entries(item).map(([method, operation]) => ({ path, method, operation })));
const link = (id, ...text) => el("li", {}, el("a", { href: `#${id}` }, ...text));
byId("version").textContent = `version ${api.info.version},`;
const [intro, ...chapters] = api.info.description.trim().split(/\n(?=## )/).map((text) => text.trim().split(/\n\n+/).map(block));
byId("intro").append(...intro, ...(api.components.securitySchemes.Bearer ? [keyPart()] : []));
for (const { name, description } of api.tags) {
  const mine = all.filter(({ operation }) => operation.tags.includes(name));
  byId("main").append(el("section", {}, el("h2", {}, name), el("p", { className: "tag" }, description),
    ...mine.map(({ path, method, operation }) => endpoint(path, method, operation))));
  byId("contents").append(el("h2", {}, name), el("ul", {}, ...mine.map(({ path, method, operation }) =>
    link(operation.operationId, el("span", { className: "method" }, method.toUpperCase()), path))));
}
byId("main").append(...chapters.map((blocks) => el("section", {}, ...blocks)), schemaSection());
byId("contents").append(el("h2", {}, "Reference"), el("ul", {}, link("errors", "Errors"), link("schemas", "Schemas")));
const wide = matchMedia("(min-width: 62rem)");
const open = () => { byId("contents").open = wide.matches; };
wide.addEventListener("change", open);
open();
// The browser looked for the fragment before there was anything to find.
if (location.hash) { const { hash } = location; location.hash = ""; location.hash = hash; }
