// The recording, with its text following it.

import { $ } from "./dom.js";
import { clock } from "./format.js";

export class Player {
  /** `onTime(seconds, playing)`: where the audio is, often while it plays. */
  constructor(onTime) {
    this.audio = $("audio");
    this.onTime = onTime;
    this.address = null;
    const { audio } = this;
    $("play").addEventListener("click", () => (audio.paused ? this.play() : audio.pause()));
    $("seek").addEventListener("input", () => (audio.currentTime = Number($("seek").value)));
    $("speed").addEventListener("change", () => (audio.playbackRate = Number($("speed").value)));
    for (const kind of ["play", "pause", "ended", "timeupdate", "seeked", "durationchange"]) {
      audio.addEventListener(kind, () => this.#shown());
    }
    audio.addEventListener("play", () => this.#tick());
    audio.addEventListener("loadedmetadata", () => this.#measure());
    // A format that this browser does not know: the text is there all the same.
    audio.addEventListener("error", () => ($("player").hidden = true));
  }

  /** Plays from an address or a blob; null: nothing to play. */
  load(source) {
    const { audio } = this;
    audio.pause();
    if (this.address) URL.revokeObjectURL(this.address);
    this.address = source instanceof Blob ? URL.createObjectURL(source) : null;
    const address = this.address ?? source;
    if (address) audio.src = address;
    else audio.removeAttribute("src");
    audio.load();
    audio.playbackRate = Number($("speed").value);
    $("player").hidden = !address;
    this.#shown();
  }

  /** Whether there is something to play. */
  get ready() {
    return !$("player").hidden;
  }

  /** Plays from `seconds`, or goes on. */
  play(seconds) {
    if (!this.ready) return;
    if (seconds !== undefined) this.audio.currentTime = seconds;
    // Refused without a click, or another load came between: the button shows that it does not play.
    this.audio.play().catch(() => {});
  }

  /** What MediaRecorder writes has no length: going to the end makes the browser look for it. */
  #measure() {
    const { audio } = this;
    if (audio.duration !== Infinity) return;
    audio.addEventListener("durationchange", () => (audio.currentTime = 0), { once: true });
    audio.currentTime = Number.MAX_SAFE_INTEGER;
  }

  #shown() {
    const { audio } = this;
    const length = Number.isFinite(audio.duration) ? audio.duration : 0;
    const seek = $("seek");
    seek.max = length || 1;
    seek.value = audio.currentTime;
    seek.setAttribute("aria-valuetext", `${clock(audio.currentTime)} of ${clock(length)}`);
    $("position").textContent = `${clock(audio.currentTime)} / ${clock(length)}`;
    $("play").classList.toggle("playing", !audio.paused);
    $("play").setAttribute("aria-label", audio.paused ? "Play" : "Pause");
    const begun = audio.currentTime > 0 || !audio.paused;
    this.onTime(begun && this.ready ? audio.currentTime : Number.NaN, !audio.paused);
  }

  /** timeupdate comes four times a second, which is too seldom for words. */
  #tick() {
    if (this.audio.paused) return;
    this.onTime(this.audio.currentTime, true);
    requestAnimationFrame(() => this.#tick());
  }
}
