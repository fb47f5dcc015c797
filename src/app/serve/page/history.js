// The recordings that the service has in work or keeps.

import { $, el } from "./dom.js";
import { about, clock, moment } from "./format.js";
import { json, request } from "./api.js";

const PAGE = 20;
/** Milliseconds between looks while something is in work, and otherwise. */
const [BUSY, IDLE] = [1500, 15000];

const STATES = { queued: "Waiting", failed: "Failed", cancelled: "Cancelled" };

/** Whether a job is over. */
export const over = (job) => ["finished", "failed", "cancelled"].includes(job.status);

export class History {
  /** `onOpen(job)`, and `onGone(id)` after a deletion. */
  constructor(onOpen, onGone) {
    Object.assign(this, { onOpen, onGone, limit: PAGE, current: null, timer: 0, shown: new Map() });
    $("more").addEventListener("click", () => {
      this.limit += PAGE;
      this.refresh();
    });
    document.addEventListener("visibilitychange", () => document.hidden || this.refresh());
  }

  /** Marks the job on show. */
  mark(id) {
    this.current = id;
    for (const [other, item] of this.shown) item.classList.toggle("current", other === id);
  }

  /** Looks now, and again when there may be news. */
  async refresh() {
    clearTimeout(this.timer);
    if (document.hidden) return;
    let wait = IDLE;
    try {
      const { jobs, more } = await list(this.limit);
      this.#draw(jobs);
      $("more").hidden = !more;
      if (jobs.some((job) => !over(job))) wait = BUSY;
    } catch {
      // The service is away: the list stays as it was.
    }
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.refresh(), wait);
  }

  /** Deletes a job, in work or not. */
  async remove(id) {
    await request(`/v1/jobs/${encodeURIComponent(id)}`, { method: "DELETE" });
    this.onGone(id);
    await this.refresh();
  }

  #draw(jobs) {
    const items = jobs.map((job) => {
      const item = this.shown.get(job.id) ?? this.#item(job);
      this.#update(item, job);
      return item;
    });
    this.shown = new Map(jobs.map((job, index) => [job.id, items[index]]));
    const list = $("jobs");
    for (const item of [...list.children]) if (!items.includes(item)) item.remove();
    // Moved only where the order changed, so that the focus stays where it is.
    items.forEach((item, index) => list.children[index] !== item && list.insertBefore(item, list.children[index] ?? null));
    $("history").hidden = jobs.length === 0;
  }

  #item(job) {
    const name = nameOf(job);
    const open = el(
      "button",
      { type: "button", class: "open" },
      el("span", { class: "name", dir: "auto" }, name),
      el("span", { class: "quiet about" }),
    );
    open.addEventListener("click", () => this.onOpen(job));
    const remove = el("button", { type: "button", class: "quiet-button remove", "aria-label": `Delete ${name}` }, "Delete");
    remove.addEventListener("click", async () => {
      remove.disabled = true;
      const next = remove.closest("li").nextElementSibling ?? remove.closest("li").previousElementSibling;
      try {
        await this.remove(job.id);
        (next?.querySelector(".open") ?? $("record")).focus();
      } catch (error) {
        remove.disabled = false;
        $("problem").textContent = error.message;
      }
    });
    const bar = el("progress", { max: 1, "aria-label": `Progress of ${name}` });
    return el("li", { class: "job", "data-id": job.id }, open, remove, bar);
  }

  #update(item, job) {
    const { seconds, total_seconds: total, eta_seconds: left } = job.progress;
    const bar = item.querySelector("progress");
    bar.hidden = over(job) || job.status === "queued";
    if (total) bar.value = Math.min(1, seconds / total);
    else bar.removeAttribute("value");
    const parts = [moment(job.created_at)];
    if (job.waiting) {
      parts.push(job.waiting);
    } else if (job.status === "running") {
      parts.push(`${clock(seconds)}${total ? ` of ${clock(total)}` : ""}`, left > 1 ? `about ${about(left)} left` : "");
    } else {
      parts.push(STATES[job.status] ?? (total ? clock(total) : ""));
    }
    const line = parts.filter(Boolean).join(" · ");
    const quiet = item.querySelector(".about");
    if (quiet.textContent !== line) quiet.textContent = line;
    item.classList.toggle("current", job.id === this.current);
  }
}

/** What a job is called. */
export const nameOf = (job) => job.file_name || "Recording";

/** The newest jobs, page by page. */
async function list(limit) {
  const jobs = [];
  for (;;) {
    const wanted = Math.min(100, limit - jobs.length);
    const after = jobs.length ? `&after=${encodeURIComponent(jobs.at(-1).id)}` : "";
    const { data, has_more: more } = await json(`/v1/jobs?limit=${wanted}${after}`);
    jobs.push(...data);
    if (!more || data.length === 0 || jobs.length >= limit) return { jobs, more };
  }
}
