// Every request of the page. A 401 opens the field for the key and the request goes on when there is one; a 429 or 503
// with Retry-After waits as the service asks.

import { $ } from "./dom.js";

const STORE = "bestbox-key";
let key = "";
try {
  key = sessionStorage.getItem(STORE) ?? "";
} catch {
  // Storage is forbidden: the key lives as long as the page.
}
let asking = null;

/** What the service answered when it refused. `param` is the field at fault. */
export class Refused extends Error {
  constructor(status, detail, retryAfter) {
    super(detail?.message ?? `The service answered ${status}.`);
    Object.assign(this, { status, param: detail?.param ?? null, code: detail?.code ?? null, retryAfter });
  }
}

/** Whether requests carry a key; then the browser cannot load addresses by itself. */
export const hasKey = () => key !== "";

/** How a WebSocket carries the key, which cannot set headers: as OpenAI's own clients do it in a browser. */
export const subprotocols = () => ["realtime", ...(key ? [`openai-insecure-api-key.${key}`] : [])];

/** As fetch, with the key. Throws Refused for anything but 2xx. */
export async function request(path, init = {}) {
  for (;;) {
    const used = key;
    let response;
    try {
      response = await fetch(path, { ...init, headers: { ...init.headers, ...credentials() } });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new Error("The service cannot be reached.", { cause: error });
    }
    if (response.ok) return response;
    const refused = refusal(response.status, await response.text(), response.headers.get("Retry-After"));
    if (response.status !== 401) throw refused;
    await askKey(used, init.signal);
  }
}

/** The JSON of a request. */
export const json = async (path, init) => (await request(path, init)).json();

/**
 * Sends a form. `onProgress(part)` is told how much has gone, 0 to 1; `onWait(seconds)` that the service is busy.
 * XMLHttpRequest, because fetch cannot say how far an upload is.
 */
export async function upload(path, form, { signal, onProgress, onWait }) {
  for (;;) {
    const used = key;
    const { status, body, retryAfter } = await post(path, form, signal, onProgress);
    if (status >= 200 && status < 300) return JSON.parse(body);
    const refused = refusal(status, body, retryAfter);
    if (status === 401) {
      await askKey(used, signal);
    } else if ((status === 429 || status === 503) && refused.retryAfter && refused.code !== "draining") {
      onWait(refused.retryAfter);
      await pause(refused.retryAfter * 1000, signal);
    } else {
      throw refused;
    }
  }
}

/** Waits; rejects with AbortError when `signal` fires. */
export function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const stop = () => {
      clearTimeout(timer);
      reject(aborted());
    };
    const timer = setTimeout(() => {
      signal?.removeEventListener("abort", stop);
      resolve();
    }, milliseconds);
    if (signal?.aborted) stop();
    else signal?.addEventListener("abort", stop, { once: true });
  });
}

const credentials = () => (key ? { Authorization: `Bearer ${key}` } : {});
const aborted = () => new DOMException("given up", "AbortError");

function post(path, form, signal, onProgress) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(aborted());
    const request = new XMLHttpRequest();
    const stop = () => request.abort();
    signal.addEventListener("abort", stop, { once: true });
    request.open("POST", path);
    for (const [name, value] of Object.entries(credentials())) request.setRequestHeader(name, value);
    request.upload.onprogress = (event) => event.lengthComputable && onProgress(event.loaded / event.total);
    request.onload = () =>
      resolve({
        status: request.status,
        body: request.responseText,
        retryAfter: request.getResponseHeader("Retry-After"),
      });
    request.onerror = () => reject(new Error("The upload broke off: the service cannot be reached."));
    request.onabort = () => reject(aborted());
    request.onloadend = () => signal.removeEventListener("abort", stop);
    request.send(form);
  });
}

function refusal(status, body, retryAfter) {
  let detail = null;
  try {
    detail = JSON.parse(body).error;
  } catch {
    // Not in our form, as from a proxy: the status must do.
  }
  return new Refused(status, detail, Number.parseInt(retryAfter ?? "", 10) || null);
}

/** Asks for a key once for all requests that wait; returns at once when another request got one meanwhile. */
function askKey(used, signal) {
  if (key !== used) return Promise.resolve();
  asking ??= new Promise((resolve) => {
    const [form, field] = [$("key"), $("key-value")];
    $("key-hint").textContent = used
      ? "That key is not accepted. Try another."
      : "It is kept until this tab is closed.";
    field.value = "";
    field.setAttribute("aria-invalid", String(used !== ""));
    form.hidden = false;
    field.focus();
    form.onsubmit = (event) => {
      event.preventDefault();
      key = field.value.trim();
      try {
        sessionStorage.setItem(STORE, key);
      } catch {
        // As above.
      }
      form.hidden = true;
      asking = null;
      resolve();
    };
  });
  if (!signal) return asking;
  return new Promise((resolve, reject) => {
    const stop = () => reject(aborted());
    if (signal.aborted) return stop();
    signal.addEventListener("abort", stop, { once: true });
    asking.then(() => {
      signal.removeEventListener("abort", stop);
      resolve();
    });
  });
}
