"use strict";
const byId = (id) => document.getElementById(id);

// Times in the reader's own zone.
for (const time of document.querySelectorAll("time[data-unix]")) {
  const when = new Date(Number(time.dataset.unix) * 1000);
  time.dateTime = when.toISOString();
  time.textContent = when.toLocaleString();
}

// Tables that can be sorted by any column; a second click turns the order.
const order = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const value = (row, column) => {
  const cell = row.cells[column];
  return cell.dataset.v ?? cell.textContent;
};
const compare = (a, b) => {
  const [x, y] = [Number(a), Number(b)];
  return a !== "" && b !== "" && !Number.isNaN(x) && !Number.isNaN(y) ? x - y : order.compare(a, b);
};
for (const head of document.querySelectorAll("th")) {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = head.textContent;
  head.replaceChildren(button);
  button.addEventListener("click", () => {
    const up = head.getAttribute("aria-sort") !== "ascending";
    for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const body = head.closest("table").tBodies[0];
    const rows = [...body.rows].map((row) => [value(row, head.cellIndex), row]);
    rows.sort(([a], [b]) => (up ? compare(a, b) : compare(b, a)));
    body.append(...rows.map(([, row]) => row));
  });
}

// The table of all files, narrowed down.
const filter = byId("filter");
const rows = [...byId("files").querySelectorAll("tbody tr")];
const plain = (text) => text.normalize("NFKD").replace(/\p{M}/gu, "").toLowerCase();
const texts = rows.map((row) => plain([...row.cells].map((cell) => cell.textContent).join(" ")));
filter.addEventListener("input", () => {
  const wanted = plain(filter.value).split(/\s+/u).filter(Boolean);
  let shown = 0;
  rows.forEach((row, at) => {
    row.hidden = !wanted.every((word) => texts[at].includes(word));
    shown += row.hidden ? 0 : 1;
  });
  byId("shown").textContent = wanted.length ? `${shown} of ${rows.length}` : "";
});

// Passages play here, from their start to their end.
const audio = byId("audio");
let until = Infinity;
document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a.play");
  if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const [source] = link.href.split("#");
  const start = Number(link.dataset.start);
  until = Number(link.dataset.end);
  byId("player").hidden = false;
  byId("trouble").hidden = true;
  byId("open").href = link.href;
  byId("playing").textContent = `${link.dataset.name}, ${link.textContent}`;
  const play = () => {
    audio.currentTime = start;
    audio.play().catch(() => {});
  };
  if (audio.dataset.source === source && audio.readyState > 0) {
    play();
  } else {
    audio.dataset.source = source;
    audio.src = source;
    audio.addEventListener("loadedmetadata", play, { once: true });
  }
});
audio.addEventListener("error", () => {
  byId("trouble").hidden = false;
});
audio.addEventListener("timeupdate", () => {
  if (audio.currentTime >= until) {
    audio.pause();
    until = Infinity;
  }
});
