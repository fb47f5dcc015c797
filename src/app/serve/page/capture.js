// Where recordings come from: the microphone, the file dialog, a drop anywhere, the clipboard, or typing.

import { $ } from "./dom.js";
import { clock } from "./format.js";
import { listen } from "./live.js";

/** In order of preference; Opus in any box is read by the service. */
const KINDS = ["audio/webm;codecs=opus", "audio/ogg;codecs=opus", "audio/mp4"];

/** `onFiles(files)` and `onText(text)` take what comes; `onProblem(sentence)` what does not work. */
export function start({ onFiles, onText, onProblem }) {
  files(onFiles);
  typing(onText);
  const recorder = new Recorder({ onDone: (file) => onFiles([file]), onProblem });
  $("record").addEventListener("click", () => recorder.start());
  $("stop").addEventListener("click", () => recorder.stop());
  $("discard").addEventListener("click", () => recorder.discard());
  // Closing the tab would lose what was said.
  addEventListener("beforeunload", (event) => recorder.active && event.preventDefault());
}

function files(onFiles) {
  const input = $("files");
  input.addEventListener("change", () => {
    onFiles([...input.files]);
    input.value = "";
  });
  let depth = 0;
  const carries = (event) => event.dataTransfer?.types.includes("Files");
  const shade = (change) => {
    depth = Math.max(0, depth + change);
    document.body.classList.toggle("dropping", depth > 0);
  };
  addEventListener("dragenter", (event) => carries(event) && shade(1));
  addEventListener("dragleave", (event) => carries(event) && shade(-1));
  addEventListener("dragover", (event) => carries(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!carries(event)) return;
    event.preventDefault();
    shade(-depth);
    onFiles([...event.dataTransfer.files]);
  });
  addEventListener("paste", (event) => {
    if (event.clipboardData?.files.length) onFiles([...event.clipboardData.files]);
  });
}

function typing(onText) {
  const [button, form, text] = [$("type"), $("typed"), $("text")];
  button.addEventListener("click", () => {
    form.hidden = !form.hidden;
    button.setAttribute("aria-expanded", String(!form.hidden));
    if (!form.hidden) text.focus();
  });
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (text.value.trim()) onText(text.value.trim());
  });
  text.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) form.requestSubmit();
  });
}

class Recorder {
  constructor({ onDone, onProblem }) {
    Object.assign(this, { onDone, onProblem, recorder: null, pieces: [], keep: false });
  }

  /** Whether something is being recorded. */
  get active() {
    return this.recorder !== null;
  }

  async start() {
    if (this.active || this.opening) return;
    this.onProblem("");
    if (!navigator.mediaDevices?.getUserMedia || !globalThis.MediaRecorder) {
      this.onProblem("This browser records only on pages of this machine or over HTTPS. Choose a file instead.");
      return;
    }
    this.opening = true;
    try {
      this.stream = await navigator.mediaDevices.getUserMedia({ audio: { channelCount: 1 } });
      const mimeType = KINDS.find((kind) => MediaRecorder.isTypeSupported(kind));
      this.recorder = new MediaRecorder(this.stream, mimeType ? { mimeType, audioBitsPerSecond: 64000 } : {});
    } catch (error) {
      this.stream?.getTracks().forEach((track) => track.stop());
      this.onProblem(reason(error));
      return;
    } finally {
      this.opening = false;
    }
    Object.assign(this, { pieces: [], keep: true, begun: performance.now() });
    this.recorder.addEventListener("dataavailable", ({ data }) => data.size && this.pieces.push(data));
    this.recorder.addEventListener("stop", () => this.#end(), { once: true });
    // Pulling the microphone out ends the track: what was said until then is kept.
    this.recorder.start(1000);
    this.#open();
    this.timer = setInterval(() => this.#clock(), 250);
    this.#clock();
    $("ways").hidden = true;
    $("recording").hidden = false;
    $("recording").scrollIntoView({ block: "nearest" });
    $("stop").focus({ preventScroll: true });
  }

  stop() {
    if (this.recorder?.state === "recording") this.recorder.stop();
  }

  discard() {
    this.keep = false;
    this.stop();
  }

  /** Level and live text. */
  #open() {
    this.context = new AudioContext();
    const source = this.context.createMediaStreamSource(this.stream);
    $("live").textContent = "";
    const language = $("language").value;
    const show = (text) => ($("live").textContent = text.slice(-400));
    this.ends = [meter(this.context, source, $("level"))];
    if ($("show_live").checked) this.ends.push(listen(this.context, source, language === "auto" ? null : language, show));
  }

  #clock() {
    $("clock").textContent = clock((performance.now() - this.begun) / 1000);
  }

  #end() {
    clearInterval(this.timer);
    this.ends.forEach((end) => end());
    this.context.close();
    this.stream.getTracks().forEach((track) => track.stop());
    const type = this.recorder.mimeType || this.pieces[0]?.type || "audio/webm";
    const ending = /ogg/.test(type) ? "ogg" : /mp4/.test(type) ? "m4a" : "webm";
    const { pieces, keep } = this;
    Object.assign(this, { recorder: null, stream: null, pieces: [] });
    $("recording").hidden = true;
    $("ways").hidden = false;
    $("record").focus();
    if (!keep) return;
    if (pieces.length === 0) {
      this.onProblem("The microphone gave no sound.");
      return;
    }
    const when = new Date().toLocaleString("sv").replaceAll(":", ".");
    this.onDone(new File(pieces, `Recording ${when}.${ending}`, { type: type.split(";")[0] }));
  }
}

function reason(error) {
  switch (error.name) {
    case "NotAllowedError":
      return "The browser does not let this page use the microphone. Allow it in the address bar, or choose a file.";
    case "NotFoundError":
      return "There is no microphone. Connect one, or choose a file.";
    case "NotReadableError":
      return "Another program holds the microphone. Close it there, or choose a file.";
    default:
      return `The microphone cannot be used: ${error.message}`;
  }
}

/** Draws the level of the last seconds, newest at the right. Returns what ends it. */
function meter(context, source, canvas) {
  const BARS = 64;
  const analyser = new AnalyserNode(context, { fftSize: 2048 });
  source.connect(analyser);
  const samples = new Float32Array(analyser.fftSize);
  const levels = new Array(BARS).fill(0);
  const pen = canvas.getContext("2d");
  const draw = () => {
    analyser.getFloatTimeDomainData(samples);
    const power = samples.reduce((sum, sample) => sum + sample * sample, 0) / samples.length;
    // -60 dB of full scale is nothing to see, -10 dB is full height.
    const decibels = 10 * Math.log10(power + 1e-12);
    levels.shift();
    levels.push(Math.min(1, Math.max(0.02, (decibels + 60) / 50)));
    pen.clearRect(0, 0, canvas.width, canvas.height);
    pen.fillStyle = getComputedStyle(canvas).color;
    const step = canvas.width / BARS;
    levels.forEach((level, index) => {
      const height = level * canvas.height;
      pen.beginPath();
      pen.roundRect(index * step + step * 0.2, (canvas.height - height) / 2, step * 0.6, height, step * 0.3);
      pen.fill();
    });
  };
  draw();
  const timer = setInterval(draw, 50);
  return () => clearInterval(timer);
}
