// /openapi.json for people: every operation with its parameters, bodies and answers, and a call to copy.

import { $, el } from "./dom.js";
import { json } from "./api.js";

/** Schemas inside schemas are written out so deep; what refers to itself ends there too. */
const DEEPEST = 6;
const METHODS = ["get", "post", "put", "patch", "delete", "head", "options"];

function show(document) {
  $("title").textContent = document.info.title;
  $("about").textContent = [document.info.description, `Version ${document.info.version}`].filter(Boolean).join("\n");
  const groups = new Map();
  for (const [path, item] of Object.entries(document.paths)) {
    for (const method of METHODS.filter((method) => item[method])) {
      const operation = item[method];
      const group = operation.tags?.[0] ?? "other";
      if (!groups.has(group)) groups.set(group, []);
      const parameters = [...(item.parameters ?? []), ...(operation.parameters ?? [])];
      groups.get(group).push({ path, method, operation: { ...operation, parameters } });
    }
  }
  for (const [group, operations] of groups) {
    const links = operations.map(({ path, method }) => el("li", {}, el("a", { href: `#${anchor(method, path)}` }, badge(method), path)));
    $("contents").append(el("h2", {}, group), el("ul", { role: "list" }, ...links));
    $("operations").append(el("h2", {}, group), ...operations.map((one) => card(document, one)));
  }
  // The address may name an operation that was not there when the page came.
  globalThis.document.getElementById(decodeURIComponent(location.hash.slice(1)))?.scrollIntoView();
}

const anchor = (method, path) => `${method}${path.replace(/[^a-zA-Z0-9]+/g, "-")}`;
const badge = (method) => el("span", { class: `method ${method}` }, method.toUpperCase());

function card(document, { path, method, operation }) {
  const body = resolve(document, operation.requestBody);
  const content = Object.entries(body?.content ?? {});
  const parameters = operation.parameters.map((parameter) => resolve(document, parameter));
  return el(
    "section",
    { class: "operation", id: anchor(method, path) },
    el("h3", {}, badge(method), el("code", {}, path)),
    operation.summary && el("p", {}, ...marked(operation.summary)),
    operation.description !== operation.summary && text(operation),
    ...(parameters.length ? [el("h4", {}, "Parameters"), parameterRows(document, parameters)] : []),
    ...content.flatMap(([type, media]) => [el("h4", {}, `Body: ${type}`), properties(document, media.schema, 0)]),
    el("h4", {}, "Answers"),
    answers(document, operation.responses ?? {}),
    el("h4", {}, "Call"),
    el("pre", { tabindex: "0" }, curl(document, method, path, parameters, content)),
  );
}

function parameterRows(document, parameters) {
  const rows = parameters.map((parameter) =>
    row(document, parameter.name, parameter.schema, { needed: parameter.required, where: parameter.in, text: parameter.description }),
  );
  return el("dl", { class: "rows" }, ...rows);
}

function answers(document, responses) {
  const rows = Object.entries(responses).map(([status, given]) => {
    const response = resolve(document, given);
    const bodies = Object.entries(response.content ?? {}).map(([type, media]) => {
      const schema = resolve(document, media.schema);
      const inside = schema && (schema.properties || schema.items || schema.oneOf || schema.allOf || schema.anyOf);
      return inside ? el("details", {}, el("summary", {}, type), properties(document, media.schema, 0)) : el("code", {}, type);
    });
    const headers = Object.keys(response.headers ?? {});
    return el(
      "div",
      {},
      el("dt", {}, el("code", {}, status)),
      el("dd", {}, text(response), headers.length ? el("small", { class: "quiet" }, `Headers: ${headers.join(", ")}`) : null, ...bodies),
    );
  });
  return el("dl", { class: "rows" }, ...rows);
}

/** The properties of a schema, its alternatives, or its type. */
function properties(document, given, depth) {
  const schema = merged(document, given);
  if (schema.type === "array" || schema.items) return properties(document, schema.items ?? {}, depth);
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices && !schema.properties) {
    const shown = choices.filter((choice) => choice.type !== "null");
    if (shown.length === 1) return properties(document, shown[0], depth);
    const items = shown.map((choice) => {
      const one = merged(document, choice);
      const name = one.title ?? choice.$ref?.split("/").at(-1) ?? constant(one) ?? typeOf(document, choice);
      return el("details", {}, el("summary", {}, name), text(one), properties(document, choice, depth + 1));
    });
    return el("div", {}, ...items);
  }
  if (!schema.properties || depth > DEEPEST) return el("p", {}, el("code", {}, typeOf(document, given)));
  const rows = Object.entries(schema.properties).map(([name, property]) =>
    row(document, name, property, { needed: schema.required?.includes(name), depth }),
  );
  return el("dl", { class: "rows" }, ...rows);
}

function row(document, name, given, { needed, where, text: said, depth = 0 }) {
  const schema = merged(document, given ?? {});
  const inner = depth < DEEPEST && nested(document, given ?? {}, depth);
  return el(
    "div",
    {},
    el(
      "dt",
      {},
      el("code", {}, name),
      el("small", {}, typeOf(document, given ?? {}), where ? `, in ${where}` : null),
      needed ? el("small", { class: "needed" }, "required") : null,
    ),
    el("dd", {}, text({ description: said ?? schema.description }), facts(schema), inner || null),
  );
}

/** A closed view of what is inside an object, a list of objects or a choice of them. */
function nested(document, given, depth) {
  let schema = merged(document, given);
  while (schema.items) schema = merged(document, schema.items);
  const choices = (schema.oneOf ?? schema.anyOf ?? []).map((choice) => merged(document, choice));
  if (!schema.properties && !choices.some((choice) => choice.properties)) return null;
  const details = el("details", {}, el("summary", {}, "Fields"));
  // Written when it is opened: types may contain each other.
  details.addEventListener("toggle", () => details.append(properties(document, schema, depth + 1)), { once: true });
  return details;
}

const text = ({ description }) => (description ? el("p", { class: "prose" }, ...marked(description)) : null);

/** Text in which names stand between backticks. */
function marked(text) {
  return text.split("`").map((part, index) => (index % 2 ? el("code", {}, part) : part));
}

function facts(schema) {
  const parts = [];
  if (schema.default !== undefined && schema.default !== null) parts.push(`default ${JSON.stringify(schema.default)}`);
  if (schema.minimum !== undefined) parts.push(`at least ${schema.minimum}`);
  if (schema.maximum !== undefined) parts.push(`at most ${schema.maximum}`);
  if (schema.maxLength !== undefined) parts.push(`at most ${schema.maxLength} characters`);
  if (schema.maxItems !== undefined) parts.push(`at most ${schema.maxItems}`);
  if (schema.example !== undefined) parts.push(`such as ${JSON.stringify(schema.example)}`);
  return parts.length ? el("small", { class: "quiet" }, parts.join("; ")) : null;
}

/** A type in words: "string", "list of Cue", "text | auto". */
function typeOf(document, given) {
  const schema = merged(document, given);
  if (schema.enum) return schema.enum.filter((value) => value !== null).map(String).join(" | ");
  const fixed = constant(schema);
  if (fixed) return fixed;
  const name = given.$ref?.split("/").at(-1);
  if (schema.items) return `list of ${typeOf(document, schema.items)}`;
  const choices = schema.oneOf ?? schema.anyOf;
  if (choices && !schema.properties) {
    const names = choices.filter((choice) => choice.type !== "null").map((choice) => typeOf(document, choice));
    return names.join(" | ") + (choices.length > names.length ? " or null" : "");
  }
  if (schema.contentMediaType || schema.format === "binary") return "file";
  const types = [schema.type].flat().filter(Boolean);
  const main = types.filter((type) => type !== "null").join(" | ") || "anything";
  return (main === "object" && name ? name : main) + (types.includes("null") ? " or null" : "");
}

const constant = (schema) => (schema.const !== undefined ? JSON.stringify(schema.const) : null);

/** What a reference stands for. */
function resolve(document, given) {
  for (let hops = 0; given?.$ref && hops < 20; hops++) {
    given = given.$ref.slice(2).split("/").reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], document);
  }
  return given;
}

/** A schema with its reference followed and its `allOf` put together. */
function merged(document, given, depth = 0) {
  const schema = { ...resolve(document, given), ...(given?.description ? { description: given.description } : {}) };
  if (!schema.allOf || depth > DEEPEST) return schema;
  const parts = schema.allOf.map((part) => merged(document, part, depth + 1));
  const all = Object.assign({}, ...parts, schema);
  all.properties = Object.assign({}, ...parts.map((part) => part.properties ?? {}), schema.properties ?? {});
  all.required = [...new Set(parts.flatMap((part) => part.required ?? []).concat(schema.required ?? []))];
  return all;
}

/** A call for a shell: required fields, and `stream` where it shows best what the service does. */
function curl(document, method, path, parameters, content) {
  const lines = [`curl ${method === "get" ? "" : `-X ${method.toUpperCase()} `}${location.origin}${path}`];
  const query = parameters.filter((parameter) => parameter.in === "query" && parameter.required);
  if (query.length) lines[0] += `?${query.map(({ name }) => `${name}=…`).join("&")}`;
  const [type, media] = content[0] ?? [];
  const schema = media && merged(document, media.schema);
  const needed = Object.keys(schema?.properties ?? {}).filter((name) => schema.required?.includes(name));
  if (type === "multipart/form-data") {
    if (!needed.includes("file") && schema.properties?.file) needed.push("file");
    lines.push(...needed.map((name) => `-F ${name}=${name === "file" ? "@recording.wav" : sample(document, schema.properties[name])}`));
  } else if (type) {
    const body = Object.fromEntries(needed.map((name) => [name, sample(document, schema.properties[name])]));
    lines.push(`-H 'Content-Type: ${type}'`, `-d '${JSON.stringify(body).replaceAll("'", "'\\''")}'`);
  }
  return lines.join(" \\\n  ");
}

function sample(document, given) {
  const schema = merged(document, given ?? {});
  return schema.example ?? schema.default ?? schema.enum?.[0] ?? (schema.type === "integer" || schema.type === "number" ? 1 : "text");
}

try {
  show(await json("/openapi.json"));
} catch (error) {
  $("problem").textContent = error.message;
}
$("operations").setAttribute("aria-busy", "false");
