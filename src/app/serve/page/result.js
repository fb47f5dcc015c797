// One recording on show: what happens to it, then what came of it.

import { $, el } from "./dom.js";
import { about, clock } from "./format.js";
import { Passages } from "./passages.js";
import { Player } from "./player.js";

export class Result {
  constructor() {
    this.passages = new Passages($("passages"), (seconds) => this.player.play(seconds));
    this.player = new Player((seconds, playing) => this.passages.follow(seconds, playing));
    $("views").addEventListener("change", (event) => {
      this.chosen = event.target.value;
      this.#quietly(() => this.passages.show(this.chosen));
    });
  }

  /** An empty result. `kind`: audio, or text that was typed. */
  begin(title, kind) {
    $("result").hidden = false;
    $("result").classList.toggle("still", kind === "text");
    $("result-title").textContent = title;
    document.title = `${title} · BestBox speech`;
    for (const id of ["intent", "answer", "actions"]) $(id).hidden = true;
    for (const id of ["reply", "reply-from", "failure"]) $(id).textContent = "";
    $("warnings").replaceChildren();
    this.warned = new Set();
    this.chosen = null;
    this.duration = null;
    this.whole = null;
    this.player.load(null);
    this.passages.clear("cleaned");
    this.#choices();
    this.state("");
    this.progress(null);
  }

  /** Forgets what came so far: it comes again. */
  restart() {
    for (const id of ["reply", "reply-from"]) $(id).textContent = "";
    this.passages.clear(this.passages.view);
  }

  /** One line on where things are. */
  state(text) {
    if ($("state").textContent !== text) $("state").textContent = text;
  }

  /** 0 to 1; undefined: nobody knows; null: nothing is under way. */
  progress(part) {
    $("under-way").hidden = part === null;
    $("result").setAttribute("aria-busy", String(part !== null));
    if (Number.isFinite(part)) $("progress").value = part;
    else $("progress").removeAttribute("value");
  }

  /** Nothing more comes, and that is as it was wanted. */
  end(text) {
    this.progress(null);
    this.state(text);
  }

  /** Why there is no more. */
  fail(message) {
    this.state("");
    this.progress(null);
    $("failure").textContent = message;
  }

  /** One event of the service. */
  take({ type, ...data }) {
    switch (type) {
      case "opened":
        this.duration = data.duration ?? this.duration;
        break;
      case "progress":
        this.#advance(data);
        break;
      case "segment":
        this.passages.segment(data);
        this.#choices();
        break;
      case "cleaned":
      case "translated":
        this.passages.cues(type, data.cues);
        this.#choices();
        break;
      case "intent":
        // An intent begins the answer anew: a job that is taken up again answers again.
        $("reply").textContent = "";
        this.#intent(data);
        break;
      case "reply.delta":
        $("answer").hidden = false;
        $("reply").setAttribute("aria-busy", "true");
        $("reply").append(data.delta);
        break;
      case "warning":
        this.#warn(data);
        break;
    }
  }

  /** Everything, in the end. */
  finish(outcome) {
    this.whole = outcome;
    this.progress(null);
    this.passages.outcome(outcome);
    this.#choices();
    if (outcome.intent) this.#intent(outcome.intent);
    if (outcome.reply) this.#reply(outcome.reply);
    outcome.warnings.forEach((warning) => this.#warn(warning));
    const { audio_s: seconds, total_ms: took } = outcome.timings;
    const empty = this.passages.text() === "";
    const parts = [empty ? "No speech in it" : "Ready"];
    if (seconds) parts.push(`${clock(seconds)} of audio in ${about(took / 1000)}`);
    this.state(parts.join(" · "));
    $("actions").hidden = false;
  }

  /** The same for a result that was ready before: nothing of it is news to be read out. */
  open(outcome) {
    this.#quietly(() => this.finish(outcome));
  }

  /** The text on show. */
  text() {
    const track = { raw: null, cleaned: this.whole?.cleaned, translated: this.whole?.translated }[this.passages.view];
    return track?.text ?? this.passages.text();
  }

  #advance({ seconds, total_seconds: total }) {
    this.duration = total ?? this.duration;
    this.state(`Listening: ${clock(seconds)}${this.duration ? ` of ${clock(this.duration)}` : ""}`);
    this.progress(this.duration ? Math.min(1, seconds / this.duration) : undefined);
  }

  #intent({ label, probability, by, undecided }) {
    $("intent").hidden = false;
    $("intent-label").textContent = label;
    const sure = by === "forced" ? "as asked for" : `${Math.round(probability * 100)} %`;
    $("intent-chance").textContent = undecided || by === "default" ? `${sure}, by default` : sure;
  }

  #reply({ text, tier, model, finish }) {
    $("answer").hidden = false;
    if ($("reply").textContent !== text) $("reply").textContent = text;
    $("reply").setAttribute("aria-busy", "false");
    const why = { length: ", cut at the token limit", timeout: ", cut at the time limit", broken: ", broke off" }[finish];
    $("reply-from").textContent = `${model} (${tier})${why ?? ""}`;
  }

  #warn({ code, message }) {
    if (this.warned.has(code + message)) return;
    this.warned.add(code + message);
    $("warnings").append(el("li", { "data-code": code, dir: "auto" }, message));
  }

  /** Offers the texts there are, and shows the best of them until somebody chooses. */
  #choices() {
    const kinds = ["raw", "cleaned", "translated"].filter((kind) => this.passages.has(kind));
    for (const input of $("views").querySelectorAll("input")) input.parentNode.hidden = !kinds.includes(input.value);
    $("views").hidden = kinds.length < 2;
    $("text-part").hidden = kinds.length === 0;
    const view = this.chosen ?? (kinds.includes("translated") ? "translated" : "cleaned");
    for (const input of $("views").querySelectorAll("input")) input.checked = input.value === view;
    if (this.passages.view !== view) this.passages.show(view);
  }

  #quietly(change) {
    $("log").setAttribute("aria-live", "off");
    change();
    setTimeout(() => $("log").setAttribute("aria-live", "polite"), 500);
  }
}
