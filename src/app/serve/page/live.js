// Text while somebody records, over the service's realtime session. Only an extra: the recording itself is uploaded in
// the end, and where this does not work nothing is said about it.

import { subprotocols } from "./api.js";

/** Samples per second that the session takes. */
const RATE = 24000;
/** Samples of one message: a tenth of a second. */
const CHUNK = RATE / 10;
/** More than this waiting to be sent, bytes: the connection is too slow to be live. */
const BEHIND = 1 << 20;

/**
 * Listens to `source`, a node of `context`. `onText(text)` is told the text so far whenever there is more.
 * Returns what ends it.
 */
export function listen(context, source, language, onText) {
  const items = new Map();
  const text = () => [...items.values()].filter(Boolean).join(" ");
  const address = new URL("/v1/realtime?intent=transcription", location.href);
  address.protocol = address.protocol.replace("http", "ws");
  let socket = null;
  let tap = null;
  try {
    socket = new WebSocket(address, subprotocols());
  } catch {
    return () => {};
  }
  const say = (message) => socket.readyState === WebSocket.OPEN && socket.send(JSON.stringify(message));
  socket.addEventListener("open", async () => {
    const transcription = { model: "whisper-1", ...(language && { language }) };
    const input = { format: { type: "audio/pcm", rate: RATE }, transcription, turn_detection: { type: "server_vad" } };
    say({ type: "session.update", session: { type: "transcription", audio: { input } } });
    await context.audioWorklet.addModule("/page/live-worklet.js");
    if (context.state === "closed") return;
    tap = new AudioWorkletNode(context, "live", { numberOfOutputs: 0, processorOptions: { rate: RATE, chunk: CHUNK } });
    tap.port.onmessage = ({ data }) => {
      if (socket.bufferedAmount < BEHIND) say({ type: "input_audio_buffer.append", audio: base64(data) });
    };
    source.connect(tap);
  });
  socket.addEventListener("message", ({ data }) => {
    const event = JSON.parse(data);
    const said = {
      "conversation.item.input_audio_transcription.delta": () => (items.get(event.item_id) ?? "") + event.delta,
      "conversation.item.input_audio_transcription.completed": () => event.transcript.trim(),
    }[event.type];
    if (!said) return;
    items.set(event.item_id, said());
    onText(text());
  });
  return () => {
    tap?.disconnect();
    tap?.port.close();
    socket.close();
  };
}

function base64(buffer) {
  let bytes = "";
  for (const byte of new Uint8Array(buffer)) bytes += String.fromCharCode(byte);
  return btoa(bytes);
}
