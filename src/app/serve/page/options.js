// What is to happen with a recording: the menus, kept for the next visit, and the fields of a request made of them.

import { $, fill } from "./dom.js";
import { json } from "./api.js";

const STORE = "bestbox-options";
const FIELDS = ["language", "style", "translate_to", "route", "model", "vocabulary", "word_times", "show_live"];
const STYLES = {
  verbatim: "As heard",
  punctuate: "Punctuation only",
  tidy: "Tidy: no fillers or repeats",
  rewrite: "Rewrite: words may change",
};
const ROUTES = { text: "Keep the text", auto: "Decide from what was said", agent: "Ask the agent" };

/** Fills the menus from what the service offers. Returns the settings. */
export async function start() {
  const settings = await json("/page/settings.json");
  const { defaults, languages } = settings;
  const names = new Map(languages.map(({ code, name }) => [code, name]));
  const sorted = languages.map(({ code, name }) => [code, name]).sort((a, b) => a[1].localeCompare(b[1], "en"));
  fill($("language"), [["auto", "Detect it"], ...sorted], defaults.language);
  fill($("style"), Object.entries(STYLES), defaults.style);
  fill($("translate_to"), [["none", "No translation"], ...sorted], defaults.translate_to ?? "none");
  fill($("route"), Object.entries(ROUTES), defaults.route);
  fill($("model"), [["", `As configured: ${defaults.model}`]], "");
  $("word_times").checked = defaults.word_times;
  restore();
  summarise(names);
  for (const name of FIELDS) {
    $(name).addEventListener("change", () => {
      $(name).removeAttribute("aria-invalid");
      store();
      summarise(names);
    });
  }
  models(defaults.model).catch(() => {});
  return settings;
}

/** The request fields, as pairs. */
export function fields() {
  const pairs = ["language", "style", "translate_to", "route", "model"].map((name) => [name, $(name).value]);
  const words = $("vocabulary").value.split(/[,;\n]/).map((word) => word.trim());
  pairs.push(...words.map((word) => ["vocabulary", word]));
  if ($("word_times").checked) pairs.push(["word_times", "true"]);
  return pairs.filter(([, value]) => value !== "");
}

/** Shows the menu that a refusal speaks of. */
export function blame(param) {
  const name = { cleanup: "style", to: "translate_to", keywords: "vocabulary" }[param] ?? param;
  if (!FIELDS.includes(name)) return;
  $("options").open = true;
  $(name).setAttribute("aria-invalid", "true");
}

/** Speech models by the names of ours; OpenAI's names for the configured one would only be many names of one thing. */
async function models(configured) {
  const { data } = await json("/v1/models");
  const own = data.filter((model) => !/^(whisper-1|default|gpt-.*)$/.test(model.id));
  const others = own.map((model) => model.id).filter((id) => id !== configured);
  const chosen = stored().model ?? "";
  fill($("model"), [["", `As configured: ${configured}`], ...others.map((id) => [id, id])], chosen);
}

function summarise(names) {
  const language = $("language").value === "auto" ? "Any language" : names.get($("language").value);
  const target = names.get($("translate_to").value);
  const parts = [language, STYLES[$("style").value].split(":")[0], target && `to ${target}`, ROUTES[$("route").value]];
  $("summary").textContent = parts.filter(Boolean).join(" · ");
}

function stored() {
  try {
    return JSON.parse(localStorage.getItem(STORE)) ?? {};
  } catch {
    return {};
  }
}

function restore() {
  for (const [name, value] of Object.entries(stored())) {
    if (!FIELDS.includes(name)) continue;
    const field = $(name);
    if (field.type === "checkbox") field.checked = value === true;
    else if (field.tagName !== "SELECT" || [...field.options].some((option) => option.value === value)) field.value = value;
  }
}

function store() {
  const value = (field) => (field.type === "checkbox" ? field.checked : field.value);
  try {
    localStorage.setItem(STORE, JSON.stringify(Object.fromEntries(FIELDS.map((name) => [name, value($(name))]))));
  } catch {
    // Nothing is kept where storage is forbidden.
  }
}
