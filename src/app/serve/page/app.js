// The page: recordings in, a job for each, and what comes of it on show.

import { Refused, hasKey, json, pause, request, upload } from "./api.js";
import * as capture from "./capture.js";
import { $, fill } from "./dom.js";
import { fileName, size } from "./format.js";
import { History, nameOf, over } from "./history.js";
import * as options from "./options.js";
import { Result } from "./result.js";
import { events } from "./sse.js";

const result = new Result();
const history = new History(
  (job) => (location.hash = `job=${job.id}`),
  (id) => shown?.id === id && close(),
);

/** What is on show: { id (null while it uploads, and for typed text), name, abort (ends what is under way) }. */
let shown = null;
/** Ends the uploads that are under way. */
let uploads = null;
let settings = null;
/** Recordings of this visit by job, so that they need not be fetched to be heard. */
const own = new Map();

capture.start({ onFiles: send, onText: write, onProblem: problem });
addEventListener("hashchange", () => route(true));
addEventListener("beforeunload", (event) => uploads && event.preventDefault());
$("cancel").addEventListener("click", cancel);
$("copy").addEventListener("click", copy);
$("download").addEventListener("submit", (event) => {
  event.preventDefault();
  download($("format").value);
});
$("delete").addEventListener("click", discard);
begin();

async function begin() {
  try {
    settings = await options.start();
  } catch (error) {
    problem(error.message);
  }
  route(false);
  history.refresh();
}

/** Opens the job that the address names, so that it survives a reload and going back. */
function route(focus) {
  const id = new URLSearchParams(location.hash.slice(1)).get("job");
  if (id && shown?.id !== id) follow({ id }, focus);
  if (!id && shown?.id) close();
}

function problem(sentence) {
  $("problem").textContent = sentence;
}

/** Puts something on show; what was followed before goes on at the service. */
function show(name, kind, id) {
  shown?.abort.abort();
  shown = { id, name, kind, abort: new AbortController() };
  result.begin(name, kind);
  fill($("format"), formats(kind));
  $("delete").hidden = kind === "text";
  history.mark(id);
  return shown;
}

function close() {
  shown?.abort.abort();
  shown = null;
  result.begin("", "audio");
  $("result").hidden = true;
  document.title = "BestBox speech";
  history.mark(null);
  if (location.hash) window.history.replaceState(null, "", "/");
}

/** Uploads recordings one after the other; the first is put on show. */
async function send(files) {
  problem("");
  if (files.length === 0) return;
  const large = files.find((file) => file.size > (settings?.max_upload_bytes ?? Infinity));
  if (large) {
    problem(`${large.name} is larger than this service takes (${size(settings.max_upload_bytes)}).`);
    return;
  }
  // The plan is taken now: changing the menus later is for the next recording.
  const plan = options.fields();
  const before = uploads;
  const mine = (uploads = { abort: new AbortController() });
  await before?.done;
  mine.done = (async () => {
    for (const [index, file] of files.entries()) {
      if (!(await sendOne(file, plan, mine.abort.signal, index === 0))) break;
    }
  })();
  await mine.done;
  if (uploads === mine) uploads = null;
}

async function sendOne(file, plan, signal, open) {
  const view = open ? show(file.name, "audio", null) : null;
  const says = (text, part) => {
    if (view === null || shown !== view) return;
    result.state(text);
    result.progress(part);
  };
  if (view) $("result-title").focus();
  const form = new FormData();
  for (const [name, value] of plan) form.append(name, value);
  form.append("file", file, file.name);
  try {
    says(`Sending ${size(file.size)}`, 0);
    const job = await upload("/v1/jobs", form, {
      signal,
      onProgress: (part) => says(part < 1 ? `Sending ${size(file.size)}` : "Sent", part),
      onWait: (seconds) => says(`The service is busy; trying again in ${seconds} s`, undefined),
    });
    own.set(job.id, file);
    history.refresh();
    // Only if nobody went elsewhere meanwhile.
    if (view && shown === view) follow(job, false);
    return true;
  } catch (error) {
    if (error.name === "AbortError") {
      if (view && shown === view) close();
    } else if (view && shown === view) {
      result.fail(error.message);
    } else {
      problem(`${file.name}: ${error.message}`);
    }
    if (error instanceof Refused) options.blame(error.param);
    return false;
  }
}

/** Shows a job and stays with it until it is over. */
async function follow(job, focus) {
  const { id } = job;
  const path = `/v1/jobs/${encodeURIComponent(id)}`;
  const view = show(job.status ? nameOf(job) : "Recording", "audio", id);
  const { signal } = view.abort;
  if (location.hash !== `#job=${id}`) window.history.pushState(null, "", `#job=${id}`);
  if (focus) $("result-title").focus();
  try {
    const now = job.status ? job : await json(path, { signal });
    view.name = nameOf(now);
    $("result-title").textContent = view.name;
    document.title = `${view.name} · BestBox speech`;
    sound(view, path);
    const known = over(now);
    let outcome = null;
    if (!known) {
      result.state(now.waiting ?? "Waiting");
      result.progress(undefined);
      outcome = await watch(path, signal);
    }
    // A job that failed says why; one that was cancelled has what was recognised until then.
    outcome ??= await json(`${path}/result?format=json`, { signal });
    if (known) result.open(outcome);
    else result.finish(outcome);
  } catch (error) {
    if (error.name === "AbortError" || shown !== view) return;
    if (error.code === "job_cancelled") return result.end("Cancelled before any text was there");
    result.fail(error.status === 404 ? "The service has no such recording (any more)." : error.message);
  } finally {
    history.refresh();
  }
}

/** Takes the events of a job until it is over; comes back after a broken connection. Returns the outcome, if it came. */
async function watch(path, signal) {
  let last = "";
  for (let failures = 0; ; failures++) {
    try {
      // Without a number to go on from, everything comes again.
      if (failures && !last) result.restart();
      const headers = last ? { "Last-Event-ID": last } : {};
      const response = await request(`${path}/events`, { signal, headers });
      for await (const { type, data, id } of events(response)) {
        failures = 0;
        last = id || last;
        if (signal.aborted) return null;
        if (type === "error") throw new Refused(200, data?.error ?? data);
        if (type === "cancelled") return null;
        if (type === "done") return data?.outcome ?? null;
        if (type === "restarted") result.restart();
        else if (data) result.take({ ...data, type });
      }
    } catch (error) {
      if (error instanceof Refused || error.name === "AbortError") throw error;
    }
    // The stream ended without its last event.
    const job = await json(path, { signal }).catch((error) => {
      if (error instanceof Refused || error.name === "AbortError") throw error;
      return null;
    });
    if (job && over(job)) return null;
    if (!job) result.state("The service cannot be reached; trying again");
    else if (job.waiting) result.state(job.waiting);
    await pause(Math.min(10000, 500 * 2 ** Math.min(failures, 5)), signal);
  }
}

/** The recording itself: the file at hand, or the service's copy. */
async function sound(view, path) {
  if (own.has(view.id)) {
    result.player.load(own.get(view.id));
  } else if (!hasKey()) {
    result.player.load(`${path}/audio`);
  } else {
    // An audio element sends no key.
    const response = await request(`${path}/audio`, { signal: view.abort.signal }).catch(() => null);
    const blob = await response?.blob().catch(() => null);
    if (blob && shown === view) result.player.load(blob);
  }
}

/** Text that was typed: the same steps without the listening. */
async function write(text) {
  problem("");
  const view = show("Typed text", "text", null);
  const { signal } = view.abort;
  if (location.hash) window.history.pushState(null, "", "/");
  const plan = Object.fromEntries(options.fields().filter(([name]) => !["vocabulary", "word_times", "model"].includes(name)));
  result.state("Reading");
  result.progress(undefined);
  $("result-title").focus();
  try {
    const response = await request("/v1/text", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ ...plan, text, stream: true }),
      signal,
    });
    for await (const { type, data } of events(response)) {
      if (type === "error") throw new Refused(200, data?.error ?? data);
      if (type === "done") return result.finish(data.outcome);
      if (data) result.take({ ...data, type });
    }
    throw new Error("The service broke off.");
  } catch (error) {
    if (error.name === "AbortError" || shown !== view) return;
    result.fail(error.message);
    if (error instanceof Refused) options.blame(error.param);
  }
}

async function cancel() {
  const view = shown;
  if (!view) return;
  $("record").focus();
  if (view.id) {
    result.state("Cancelling");
    const path = `/v1/jobs/${encodeURIComponent(view.id)}/cancel`;
    await request(path, { method: "POST", signal: view.abort.signal }).catch((error) => problem(error.message));
  } else if (view.kind === "text") {
    view.abort.abort();
    result.state("Cancelled");
    result.progress(null);
  } else {
    uploads?.abort.abort();
  }
}

async function discard() {
  if (!shown?.id) return;
  $("record").focus();
  await history.remove(shown.id).catch((error) => problem(error.message));
}

async function copy() {
  const button = $("copy");
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(result.text());
    button.textContent = "Copied";
  } catch {
    button.textContent = "The browser forbids it";
  }
  setTimeout(() => (button.textContent = said), 2000);
}

function formats(kind) {
  const names = {
    text: "Text",
    json: "JSON: everything",
    jsonl: "JSON on one line",
    srt: "SRT subtitles",
    vtt: "WebVTT subtitles",
    tsv: "TSV table",
    csv: "CSV table",
    lrc: "LRC lyrics",
    md: "Markdown",
  };
  const offered = (settings?.formats ?? []).map(({ name }) => [name, names[name] ?? name]);
  return kind === "text" ? offered.filter(([name]) => ["text", "json"].includes(name)) : offered;
}

async function download(format) {
  const view = shown;
  const { extension } = settings.formats.find(({ name }) => name === format);
  try {
    const text = { raw: "raw", cleaned: "cleaned", translated: "translated" }[result.passages.view];
    const blob = view.id
      ? await (await request(`/v1/jobs/${encodeURIComponent(view.id)}/result?format=${format}&text=${text}`)).blob()
      : new Blob([format === "json" ? JSON.stringify(result.whole, null, 2) : written(result)]);
    const address = URL.createObjectURL(blob);
    const link = document.createElement("a");
    link.href = address;
    link.download = fileName(view.name, extension);
    link.click();
    setTimeout(() => URL.revokeObjectURL(address), 60000);
  } catch (error) {
    $("failure").textContent = error.message;
  }
}

/** The text and the answer, as the service's own text format has them. */
function written(result) {
  return [result.text(), result.whole?.reply?.text].filter(Boolean).join("\n\n") + "\n";
}
