"use strict";
// The index comes in scripts, because a page that was opened as a file may not fetch: the first one says what files
// there are and which further scripts hold their texts; each calls back here.
const byId = (id) => document.getElementById(id);
const FILES_SHOWN = 30;
const HITS_SHOWN = 8;
/** Letters around a hit. */
const CONTEXT = 90;
/** How far apart the words of a query may be, letters. */
const NEAR = 300;

let files = [];
/** One for each text: { file, language, cues: [start, end, text, speaker?, words?], starts, folded }. */
const tracks = [];
const waiting = { scripts: 0 };

globalThis.bestboxSearch = {
  /** The first script. */
  begin(index) {
    files = index.files;
    waiting.scripts = index.scripts.length;
    this.add(index.texts);
    for (const name of index.scripts) {
      const script = document.createElement("script");
      script.src = name;
      script.onload = script.onerror = () => {
        waiting.scripts -= 1;
        ask();
      };
      document.head.append(script);
    }
  },
  /** Texts: [file, language, cues]. */
  add(texts) {
    for (const [file, language, cues] of texts) {
      const starts = [];
      let folded = " ";
      for (const cue of cues) {
        starts.push(folded.length - 1);
        folded += fold(cue[2]).trim();
        if (!folded.endsWith(" ")) folded += " ";
      }
      tracks.push({ file, language, cues, starts, folded });
    }
  },
};

/** Letters and digits without case and accents, one space between words: what is compared. */
function fold(text) {
  return text
    .normalize("NFKD")
    .toLowerCase()
    .replace(/[\p{M}'’]/gu, "")
    .replace(/[ςøłđßæœ]/gu, (c) => SAME[c])
    .replace(/[^\p{L}\p{N}]+/gu, " ");
}
const SAME = { ς: "σ", ø: "o", ł: "l", đ: "d", ß: "ss", æ: "ae", œ: "oe" };

/** Where each letter of `fold(text)` stands in the text; one more for its end. */
function places(text) {
  const map = [];
  let last = "";
  let at = 0;
  for (const c of text) {
    for (const letter of fold(c)) {
      if (letter === " " && last === " ") continue;
      map.push(at);
      last = letter;
    }
    at += c.length;
  }
  map.push(at);
  return map;
}

/** Scripts without spaces between words: any place is the beginning of one. */
const UNSPACED = /^[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}\p{Script=Myanmar}]/u;

/** Terms of a query: { text, bound } where bound terms begin a word; phrases end one too. */
function parse(query) {
  const terms = [];
  for (const [, phrase, word] of query.matchAll(/["“”„]([^"“”„]*)["“”„]?|(\S+)/gu)) {
    const text = fold(phrase ?? word).trim();
    if (!text) continue;
    const unspaced = UNSPACED.test(text);
    terms.push(`${unspaced ? "" : " "}${text}${phrase !== undefined && !unspaced ? " " : ""}`);
  }
  return terms;
}

/** Places in a track where all terms are near each other: [[from, to] of each term]. */
function find(track, terms) {
  const found = [];
  const [first, ...others] = terms;
  for (let at = track.folded.indexOf(first); at >= 0; at = track.folded.indexOf(first, at + 1)) {
    const hit = [[at, at + first.length]];
    for (const term of others) {
      const near = closest(track.folded, term, at);
      if (near < 0) break;
      hit.push([near, near + term.length]);
    }
    if (hit.length === terms.length) found.push(hit.sort((a, b) => a[0] - b[0]));
  }
  return found;
}

function closest(text, term, at) {
  const after = text.indexOf(term, at);
  const before = text.lastIndexOf(term, at);
  const distance = (place) => (place < 0 ? Infinity : Math.abs(place - at));
  const best = distance(after) <= distance(before) ? after : before;
  return distance(best) <= NEAR ? best : -1;
}

let shownFiles = FILES_SHOWN;
let results = [];

function ask() {
  const query = byId("query").value;
  const terms = parse(query).sort((a, b) => b.length - a.length);
  history.replaceState(null, "", query ? `#q=${encodeURIComponent(query)}` : location.pathname);
  results = [];
  let hits = 0;
  if (terms.length) {
    const byFile = new Map();
    for (const track of tracks) {
      const found = find(track, terms);
      if (!found.length) continue;
      hits += found.length;
      if (!byFile.has(track.file)) byFile.set(track.file, []);
      byFile.get(track.file).push(...found.map((hit) => ({ track, hit })));
    }
    results = [...byFile].sort((a, b) => b[1].length - a[1].length || a[0] - b[0]);
  }
  shownFiles = FILES_SHOWN;
  const more = waiting.scripts > 0 ? " … still reading the index" : "";
  const count = (n, what) => `${n.toLocaleString()} ${what}${n === 1 ? "" : "s"}`;
  byId("said").textContent = terms.length
    ? `${count(hits, "place")} in ${count(results.length, "recording")}${more}`
    : `${count(files.length, "recording")}${more}`;
  show();
}

function show() {
  byId("results").replaceChildren(...results.slice(0, shownFiles).map(([file, found]) => result(file, found)));
  byId("more").hidden = results.length <= shownFiles;
}

function element(name, attributes, ...children) {
  const made = document.createElement(name);
  Object.assign(made, attributes);
  made.append(...children);
  return made;
}

function result(at, found) {
  const [name, audio, transcript] = files[at];
  const title = element("h2", { dir: "auto" }, transcript ? element("a", { href: transcript }, name) : name);
  const list = element("ul", { className: "hits" });
  const add = (some) => list.append(...some.map((one) => element("li", {}, place(one, name, audio))));
  add(found.slice(0, HITS_SHOWN));
  const item = element("li", {}, title, list);
  if (found.length > HITS_SHOWN) {
    const more = element("button", { type: "button", className: "more" }, `${found.length - HITS_SHOWN} more here`);
    more.addEventListener("click", () => {
      add(found.slice(HITS_SHOWN));
      more.remove();
    });
    item.append(more);
  }
  return item;
}

/** One hit: its time and the words around it. A click plays it. */
function place({ track, hit }, name, audio) {
  const [from] = hit[0];
  const [start] = position(track, from);
  const cue = track.cues[start.cue];
  const seconds = second(cue, start.letter);
  const timed = cue[1] > 0;
  const text = element("span", { dir: "auto" }, ...snippet(track, hit));
  const time = element("time", {}, clock(seconds));
  const who = cue[3] ? [element("b", {}, `${cue[3]}: `)] : [];
  text.prepend(...who);
  if (!audio || !timed) return element("div", { className: timed ? "hit" : "hit untimed" }, time, text);
  const button = element("button", { type: "button", className: "hit" }, time, text);
  button.addEventListener("click", () => {
    document.querySelector(".hit.now")?.classList.remove("now");
    button.classList.add("now");
    play(name, audio, seconds);
  });
  return button;
}

/** Which cue a place of the folded text is in, and which letter of the cue's own text that is. */
function position(track, at) {
  // A hit begins at the space before its word.
  const letterAt = track.folded[at] === " " ? at + 1 : at;
  let [low, high] = [0, track.starts.length - 1];
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if (track.starts[middle] < letterAt) low = middle;
    else high = middle - 1;
  }
  const text = track.cues[low][2];
  const map = places(text);
  const lead = fold(text).startsWith(" ") ? 1 : 0;
  const letter = map[Math.min(letterAt - track.starts[low] - 1 + lead, map.length - 1)];
  return [{ cue: low, letter }];
}

/** When the word at this letter was said: measured where words have times, else by its place in the text. */
function second([start, end, text, , words], letter) {
  if (words) {
    const before = text.slice(0, letter).split(" ").length - 1;
    if (words[before] !== undefined) return start + words[before] / 100;
  }
  return text.length ? start + ((end - start) * letter) / text.length : start;
}

/** Text around a hit, its terms marked. */
function snippet(track, hit) {
  const spans = hit.map(([from, to]) => [position(track, from)[0], position(track, track.folded[to - 1] === " " ? to - 2 : to - 1)[0]]);
  const first = spans[0][0].cue;
  const last = Math.max(...spans.map(([, end]) => end.cue));
  // The texts of those cues in one, and where each begins in it.
  let text = "";
  const begins = [];
  for (let cue = Math.max(0, first - 1); cue <= Math.min(track.cues.length - 1, last + 1); cue += 1) {
    begins[cue] = text.length;
    text += `${track.cues[cue][2]} `;
  }
  const marks = spans.map(([start, end]) => [begins[start.cue] + start.letter, begins[end.cue] + end.letter + 1]);
  let from = Math.max(0, marks[0][0] - CONTEXT);
  let to = Math.min(text.length, Math.max(...marks.map(([, end]) => end)) + CONTEXT);
  // Whole words.
  if (from > 0) from = text.indexOf(" ", from) + 1 > marks[0][0] ? from : text.indexOf(" ", from) + 1;
  if (to < text.length && text.lastIndexOf(" ", to) > marks.at(-1)[1]) to = text.lastIndexOf(" ", to);
  const parts = [from > 0 ? "… " : ""];
  let done = from;
  for (const [start, end] of marks) {
    if (start < done) continue;
    // To the end of the word that was begun.
    parts.push(text.slice(done, start), element("mark", {}, text.slice(start, end)));
    done = end;
  }
  parts.push(text.slice(done, to).trimEnd(), to < text.trimEnd().length ? " …" : "");
  return parts;
}

function clock(seconds) {
  const s = Math.floor(seconds);
  const two = (n) => String(n).padStart(2, "0");
  const [h, m] = [Math.floor(s / 3600), Math.floor(s / 60) % 60];
  return h ? `${h}:${two(m)}:${two(s % 60)}` : `${m}:${two(s % 60)}`;
}

function play(name, source, seconds) {
  const audio = byId("audio");
  byId("player").hidden = false;
  byId("trouble").hidden = true;
  byId("open").href = `${source}#t=${seconds.toFixed(2)}`;
  byId("playing").textContent = `${name}, ${clock(seconds)}`;
  const start = () => {
    audio.currentTime = seconds;
    audio.play().catch(() => {});
  };
  if (audio.dataset.source === source && audio.readyState > 0) {
    start();
  } else {
    audio.dataset.source = source;
    audio.src = source;
    audio.addEventListener("loadedmetadata", start, { once: true });
  }
}
byId("audio").addEventListener("error", () => {
  byId("trouble").hidden = false;
});

byId("more").addEventListener("click", () => {
  shownFiles += FILES_SHOWN;
  show();
});
let soon = 0;
byId("query").addEventListener("input", () => {
  clearTimeout(soon);
  soon = setTimeout(ask, 80);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "/" && document.activeElement !== byId("query")) {
    event.preventDefault();
    byId("query").focus();
  }
});

const asked = /^#q=(.*)$/u.exec(location.hash);
if (asked) byId("query").value = decodeURIComponent(asked[1]);
const index = document.createElement("script");
index.src = "search-index.js";
index.onload = ask;
index.onerror = () => {
  byId("said").textContent = "search-index.js is missing: run bestbox batch again";
};
document.head.append(index);
