// Server-sent events out of a fetch, because EventSource can send no key. Follows the HTML standard, 9.2.6.

/** Yields { type, data, id } for each event; `data` is the JSON in it. Ends when the stream does. */
export async function* events(response) {
  // 204: nothing more will come.
  if (!response.body) return;
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  let event = { type: "", data: [], id: "" };
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      rest += value;
      // A carriage return at the end may be half of a line end.
      const held = rest.endsWith("\r") ? 1 : 0;
      const lines = rest.slice(0, rest.length - held).split(/\r\n|\n|\r/);
      rest = lines.pop() + rest.slice(rest.length - held);
      for (const line of lines) {
        if (line === "") {
          if (event.data.length) {
            const data = parsed(event.data.join("\n"));
            yield { type: event.type || data?.type || "message", data, id: event.id };
          }
          event = { type: "", data: [], id: event.id };
          continue;
        }
        const colon = line.indexOf(":");
        const field = colon < 0 ? line : line.slice(0, colon);
        const content = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
        if (field === "data") event.data.push(content);
        else if (field === "event") event.type = content;
        else if (field === "id") event.id = content;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}
