// The text of a recording as a list of passages with times: raw, cleaned and translated side by side in memory, one of
// them on show, following the audio.

import { calm, el } from "./dom.js";
import { clock } from "./format.js";

/** Seconds that reading elsewhere is respected before the list follows the audio again. */
const HANDS_OFF = 4;

export class Passages {
  /** `list`: the ol. `onJump(seconds)`: somebody wants to hear a passage. */
  constructor(list, onJump) {
    this.list = list;
    this.onJump = onJump;
    this.scrolled = 0;
    this.clear("cleaned");
    list.addEventListener("keydown", (event) => this.#key(event));
    list.addEventListener("click", (event) => {
      const index = this.#indexOf(event.target);
      // A click that ends a selection is no wish to jump.
      if (index < 0 || getSelection()?.toString()) return;
      this.#focus(index);
      this.onJump(this.#wordStart(event.target) ?? this.items[index].start);
    });
    for (const kind of ["wheel", "touchmove"]) {
      addEventListener(kind, () => (this.scrolled = performance.now()), { passive: true });
    }
  }

  /** Empties the list. `view`: raw, cleaned or translated. */
  clear(view) {
    this.items = [];
    this.view = view;
    this.current = -1;
    this.focused = 0;
    this.word = null;
    this.settled = false;
    this.list.replaceChildren();
  }

  /** Recognised text. */
  segment({ start, end, text, words }) {
    const item = this.#without("raw", start) ?? this.#insert(start, end);
    Object.assign(item, { end, raw: text, words: words ?? [] });
    this.#draw(item);
  }

  /** Cleaned or translated text of segments that were recognised before. */
  cues(kind, cues) {
    for (const cue of cues) {
      const item = this.#without(kind, cue.start) ?? this.#insert(cue.start, cue.end);
      item[kind] = cue.text;
      if (kind === "cleaned") item.paragraph = cue.paragraph === true;
      this.#draw(item);
    }
  }

  /** The final word on everything: each track has one cue a segment, in order. */
  outcome({ transcript: { segments }, cleaned, translated }) {
    this.settled = true;
    const same = segments.length === this.items.length && segments.every(({ start }, i) => start === this.items[i].start);
    if (!same) {
      this.items.forEach((item) => item.node.parentNode.remove());
      Object.assign(this, { items: [], current: -1, focused: 0, word: null });
      segments.forEach(({ start, end }) => this.#insert(start, end));
    }
    segments.forEach(({ text, words, end }, i) => {
      const item = this.items[i];
      Object.assign(item, { end, raw: text, words: words ?? [] });
      item.cleaned = cleaned?.cues[i]?.text;
      item.translated = translated?.cues[i]?.text;
      item.paragraph = i > 0 && cleaned?.cues[i]?.paragraph === true;
      this.#draw(item);
    });
  }

  /** Which texts there are. */
  has(kind) {
    return this.items.some((item) => item[kind] !== undefined);
  }

  /** Shows raw, cleaned or translated text. */
  show(view) {
    this.view = view;
    this.items.forEach((item) => this.#draw(item));
  }

  /** What is on show, as one text. */
  text(joint = " ") {
    const texts = this.items.map((item) => (item.paragraph ? "\n\n" : "") + this.#textOf(item).text);
    return texts.filter(Boolean).join(joint).replace(/ *\n\n/g, "\n\n").trim();
  }

  /** Marks what is heard at `seconds`; NaN: nothing. */
  follow(seconds, playing) {
    let index = this.items.findLastIndex((item) => item.start <= seconds + 0.05);
    if (Number.isNaN(seconds)) index = -1;
    if (index !== this.current) {
      const before = this.items[this.current]?.node;
      before?.classList.remove("now");
      before?.removeAttribute("aria-current");
      this.current = index;
      const node = this.items[index]?.node;
      node?.classList.add("now");
      node?.setAttribute("aria-current", "true");
      const away = performance.now() - this.scrolled > HANDS_OFF * 1000;
      if (node && playing && away) node.scrollIntoView({ block: "nearest", behavior: calm() ? "auto" : "smooth" });
    }
    const words = this.items[index]?.spans ?? [];
    const word = words.findLast((word) => word.start <= seconds)?.span ?? null;
    if (word !== this.word) {
      this.word?.classList.remove("now");
      word?.classList.add("now");
      this.word = word;
    }
  }

  /** The first passage that starts then and lacks this text; lines that were typed all start at 0. */
  #without(kind, start) {
    return this.items.find((item) => item.start === start && item[kind] === undefined);
  }

  #insert(start, end) {
    const words = el("span", { class: "words", dir: "auto" });
    const node = el(
      "div",
      { class: "passage", role: "button", tabindex: "-1" },
      el("span", { class: "time" }, clock(start)),
      words,
    );
    const item = { start, end, node, text: words, words: [], spans: [], paragraph: false };
    const place = this.items.findLastIndex((other) => other.start <= start) + 1;
    this.list.insertBefore(el("li", {}, node), this.list.children[place] ?? null);
    this.items.splice(place, 0, item);
    if (this.current >= place) this.current += 1;
    if (this.focused >= place && this.items.length > 1) this.focused += 1;
    this.items[this.focused].node.tabIndex = 0;
    return item;
  }

  /** The text on show, and whether a better one is still to come. */
  #textOf(item) {
    const order = { raw: ["raw"], cleaned: ["cleaned", "raw"], translated: ["translated", "cleaned", "raw"] }[this.view];
    const found = order.find((kind) => item[kind] !== undefined);
    return { text: item[found] ?? "", pending: found !== order[0] && !this.settled, timed: found !== "translated" };
  }

  #draw(item) {
    const { text, pending, timed } = this.#textOf(item);
    item.node.classList.toggle("pending", pending);
    item.node.classList.toggle("paragraph", item.paragraph && this.view !== "raw");
    // A passage that cleanup emptied (only fillers) keeps its place but is not shown.
    item.node.parentNode.hidden = text === "";
    if (item.drawn === text && item.drawnWords === (timed && item.words)) return;
    Object.assign(item, { drawn: text, drawnWords: timed && item.words, spans: [] });
    const pieces = timed && item.words.length ? spell(text, item.words) : [text];
    const nodes = pieces.map((piece) => {
      if (typeof piece === "string") return piece;
      const span = el("span", { class: "word" }, piece.text);
      item.spans.push({ start: piece.start, span });
      return span;
    });
    item.text.replaceChildren(...nodes);
  }

  #indexOf(target) {
    const node = target.closest?.(".passage");
    return node ? this.items.findIndex((item) => item.node === node) : -1;
  }

  #wordStart(target) {
    for (const item of this.items) {
      const word = item.spans.find(({ span }) => span === target);
      if (word) return word.start;
    }
    return null;
  }

  #focus(index) {
    const node = this.items[index]?.node;
    if (!node) return;
    this.items[this.focused].node.tabIndex = -1;
    this.focused = index;
    node.tabIndex = 0;
    node.focus();
  }

  #key(event) {
    const index = this.#indexOf(event.target);
    if (index < 0 || event.ctrlKey || event.metaKey || event.altKey) return;
    const shown = (from, step) => {
      let next = from;
      while (this.items[next]?.node.parentNode.hidden) next += step;
      return next;
    };
    const last = this.items.length - 1;
    const go = {
      ArrowDown: () => this.#focus(shown(index + 1, 1)),
      ArrowUp: () => this.#focus(shown(index - 1, -1)),
      Home: () => this.#focus(shown(0, 1)),
      End: () => this.#focus(shown(last, -1)),
      Enter: () => this.onJump(this.items[index].start),
      " ": () => this.onJump(this.items[index].start),
    }[event.key];
    if (!go) return;
    event.preventDefault();
    go();
  }
}

/**
 * `text` cut so that each timed word is a piece of its own: strings, and { text, start }. Cleanup changes case and
 * punctuation and leaves words out, so words are looked for by their letters, in order, not far ahead.
 */
export function spell(text, words) {
  const FAR = 60;
  const lower = text.toLowerCase();
  const plain = lower.length === text.length ? lower : text;
  const pieces = [];
  let done = 0;
  for (const { word, start } of words) {
    const core = word.toLowerCase().replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "");
    const at = core ? find(plain, core, done) : -1;
    if (at < 0 || at - done > FAR) continue;
    if (at > done) pieces.push(text.slice(done, at));
    done = at + core.length;
    pieces.push({ text: text.slice(at, done), start });
  }
  if (done < text.length) pieces.push(text.slice(done));
  return pieces;
}

/** Where `core` stands as a whole word; scripts without spaces have no word ends to look at. */
function find(text, core, from) {
  const spaced = /[\p{Script=Latin}\p{Script=Cyrillic}\p{Script=Greek}\p{N}]/u;
  const joins = (char) => char !== undefined && spaced.test(char);
  for (let at = text.indexOf(core, from); at >= 0; at = text.indexOf(core, at + 1)) {
    const inside = joins(text[at - 1]) && joins(core[0]);
    const goesOn = joins(text[at + core.length]) && joins(core.at(-1));
    if (!inside && !goesOn) return at;
  }
  return -1;
}
