// The web page in headless Chromium. Arguments: JSON { url, clips (several seconds of speech each), downloads,
// chromium, words (what must be recognised), key (of a service that asks for one, or null) }. Prints a line for each
// thing that works; the first that does not ends it with exit code 1.
import assert from "node:assert/strict";
import fs from "node:fs";
import { createRequire } from "node:module";
import path from "node:path";

const puppeteer = createRequire(`${process.env.CLIENTS}/`)("puppeteer-core");
const given = JSON.parse(process.argv[2]);
const { url } = given;
const LONGEST = given.patience ?? 180000;

const browser = await puppeteer.launch({
  executablePath: given.chromium,
  headless: true,
  args: [
    "--no-sandbox",
    "--autoplay-policy=no-user-gesture-required",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
    `--use-file-for-fake-audio-capture=${given.microphone}`,
  ],
});
/** What must stay empty: requests elsewhere, violations of the policy, errors. */
const faults = [];
/** Refusals that a check provokes are no faults. */
const expected = [];
let page = null;
let failed = null;

const checks = {
  /** The first thing on the page: nothing but itself is loaded. */
  async "page and policy"() {
    const response = await page.goto(`${url}/`, { waitUntil: "networkidle0" });
    const policy = response.headers()["content-security-policy"];
    assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/);
    assert.ok(!/unsafe|\*|https?:/.test(policy), policy);
    assert.equal(response.headers()["x-content-type-options"], "nosniff");
    await page.waitForFunction(() => document.querySelectorAll("#language option").length > 90);
    const again = await page.evaluate(async () => {
      const first = await fetch("/page/app.js", { cache: "no-store" });
      const tag = first.headers.get("etag");
      const second = await fetch("/page/app.js", { cache: "no-store", headers: { "If-None-Match": tag } });
      return [first.status, second.status, first.headers.get("cache-control")];
    });
    assert.deepEqual(again, [200, 304, "no-cache"]);
  },

  /** A real upload: passages are there before the end, all words in the end, and the player plays. */
  async "upload streams in"() {
    await option("style", "punctuate");
    await option("route", "text");
    await check("word_times", true);
    await page.evaluate(() => {
      globalThis.seen = { first: 0 };
      new MutationObserver(() => {
        if (document.getElementById("under-way").hidden) return;
        seen.first ||= document.querySelectorAll(".passage").length;
      }).observe(document.getElementById("result"), { subtree: true, childList: true, attributes: true });
    });
    const input = await page.$("#files");
    await input.uploadFile(given.long);
    await ready();
    const { first } = await page.evaluate(() => seen);
    const { text, count, title } = await shown();
    assert.ok(first >= 1 && first < count, `${first} of ${count} passages when the first was seen, before the end`);
    hasWords(text, given.words);
    assert.equal(title, path.basename(given.long));
    assert.match(page.url(), /#job=/);
    assert.ok(await page.$eval("#warnings", (list) => list.getAttribute("aria-live") === "polite"));
  },

  /** The passage heard is marked, and so is the word; a click on another goes there. */
  async "text follows the audio"() {
    await page.waitForFunction(() => document.getElementById("audio").readyState >= 2, { timeout: LONGEST });
    const last = (await page.$$(".passage")).at(-1);
    const start = await page.$$eval(".passage .time", (times) => times.at(-1).textContent);
    await last.click({ offset: { x: 30, y: 12 } });
    await page.waitForFunction(() => [...document.querySelectorAll(".passage")].at(-1).classList.contains("now"));
    await page.waitForFunction(() => document.querySelector(".word.now"));
    const at = await page.$eval("#audio", (audio) => audio.currentTime);
    assert.ok(Math.abs(at - seconds(start)) < 4, `${at} after a click on ${start}`);
    assert.equal(await page.$eval(".passage.now", (one) => one.getAttribute("aria-current")), "true");
    await page.$eval("#audio", (audio) => audio.pause());
    // Words know their times in the cleaned text too.
    const words = await page.$$eval(".passage .word", (all) => all.length);
    assert.ok(words > given.words.length / 2, `${words} timed words`);
  },

  /** The views are different texts of the same passages. */
  async "views"() {
    const clean = (await shown()).text;
    await page.evaluate(() => document.querySelector("input[name=view][value=raw]").click());
    const raw = (await shown()).text;
    hasWords(raw, given.words);
    await page.evaluate(() => document.querySelector("input[name=view][value=cleaned]").click());
    assert.equal((await shown()).text, clean);
    assert.equal(await page.$eval("input[name=view][value=translated]", (input) => input.parentNode.hidden), true);
  },

  /** Every format comes from the service. */
  async "downloads"() {
    const formats = await page.$$eval("#format option", (options) => options.map((option) => option.value));
    for (const format of ["text", "json", "jsonl", "srt", "vtt", "tsv", "csv", "lrc", "md"]) {
      assert.ok(formats.includes(format), format);
    }
    const srt = await download("srt");
    assert.match(srt, /^1\r?\n00:00:\d\d,\d{3} --> 00:00:\d\d,\d{3}\r?\n\S/);
    hasWords(srt.replace(/^\d+$|^.*-->.*$/gm, ""), given.words);
    assert.match(await download("vtt"), /^WEBVTT/);
    assert.equal(JSON.parse(await download("json")).schema, 1);
    assert.match(await download("csv"), /^start,end,text/);
    hasWords(await download("text"), given.words);
  },

  /** The job is the service's, not the page's. */
  async "survives a reload"() {
    const before = await shown();
    await page.reload({ waitUntil: "networkidle0" });
    await ready();
    assert.deepEqual(await shown(), before);
    // This time the sound comes from the service, which serves parts of it.
    await page.waitForFunction(() => document.getElementById("audio").readyState >= 1, { timeout: LONGEST });
    assert.match(await page.$eval("#audio", (audio) => audio.src), /\/v1\/jobs\/[^/]+\/audio$/);
    assert.ok((await page.$$eval("#jobs .job", (items) => items.length)) >= 1);
  },

  /** No pointer at all: skip link, menus, typing, passages, player. */
  async "keyboard alone"() {
    await page.goto(`${url}/`, { waitUntil: "networkidle0" });
    await page.evaluate(() => document.activeElement?.blur());
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.className), "skip");
    const order = [];
    for (let i = 0; i < 40; i++) {
      const focus = await page.evaluate(() => {
        const node = document.activeElement;
        // What cannot be seen itself shows its focus on its label.
        const seen = node.matches(".visually-hidden, [type=file], [type=radio]") ? node.closest("label") : node;
        const ring = [seen, ...seen.querySelectorAll("span")].some((one) => {
          const style = getComputedStyle(one);
          return style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2;
        });
        const name = node.getAttribute("aria-label") ?? node.labels?.[0]?.textContent ?? node.textContent;
        return { id: node.id || node.className || node.tagName, ring, name: name.trim() };
      });
      assert.ok(focus.ring || focus.id === "BODY", `no visible focus on ${focus.id}`);
      assert.ok(focus.name || focus.id === "BODY", `no name for ${focus.id}`);
      if (focus.id === "BODY" || (order.length > 1 && focus.id === order[0])) break;
      order.push(focus.id);
      await page.keyboard.press("Tab");
    }
    for (const id of ["record", "files", "type", "open"]) assert.ok(order.includes(id), `${id} in ${order}`);

    await page.focus("#options summary");
    await page.keyboard.press("Enter");
    assert.ok(await page.$eval("#options", (details) => details.open));
    await page.keyboard.press("Tab");
    assert.equal(await page.evaluate(() => document.activeElement.id), "language");

    // A job of before, opened with Enter; arrows and Enter in its text.
    await page.focus("#jobs .open");
    await page.keyboard.press("Enter");
    await ready();
    await page.waitForFunction(() => document.getElementById("audio").readyState >= 2, { timeout: LONGEST });
    await page.focus(".passage[tabindex='0']");
    await page.keyboard.press("End");
    const last = await page.evaluate(() => document.activeElement === [...document.querySelectorAll(".passage")].at(-1));
    assert.ok(last, "End goes to the last passage");
    await page.keyboard.press("Enter");
    await page.waitForFunction(() => document.activeElement.classList.contains("now"));
    await page.focus("#play");
    await page.keyboard.press("Space");
    await page.waitForFunction(() => document.getElementById("audio").paused);
    await page.focus("#options summary");
    await page.keyboard.press("Enter");
  },

  /** Text that is typed takes the same way without the listening. */
  async "typed text"() {
    await page.focus("#type");
    await page.keyboard.press("Enter");
    assert.equal(await page.evaluate(() => document.activeElement.id), "text");
    await page.keyboard.type("the roofers finished the south side today and the <b>scaffolding</b> comes down");
    await page.keyboard.down("Control");
    await page.keyboard.press("Enter");
    await page.keyboard.up("Control");
    await ready();
    const { text } = await shown();
    assert.match(text, /roofers finished the south side/i);
    assert.match(text, /scaffolding/i);
    assert.equal(await page.$eval("#passages", (list) => list.querySelectorAll("b").length), 0);
    assert.match(await download("text"), /roofers/i);
    await page.click("#type");
  },

  /** A recording from the microphone: a level is shown, then its words. */
  async "microphone"() {
    await page.click("#record");
    await page.waitForSelector("#recording:not([hidden])");
    await page.waitForFunction(
      () => {
        const canvas = document.getElementById("level");
        const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, 12);
        return data.some((value) => value > 0);
      },
      { timeout: 20000 },
    );
    await new Promise((resolve) => setTimeout(resolve, given.microphoneSeconds * 1000));
    // Text while somebody speaks; a busy machine takes its time.
    await page.waitForFunction(() => document.getElementById("live").textContent.trim().length > 10);
    await page.click("#stop");
    // Not the result of the check before.
    await page.waitForFunction(() => document.getElementById("result-title").textContent.startsWith("Recording "));
    await ready();
    const { text, title } = await shown();
    hasWords(text, given.microphoneWords);
    assert.match(title, /^Recording .*\.webm$/);
    await page.waitForFunction(() => Number.isFinite(document.getElementById("audio").duration), { timeout: 10000 });
    const length = await page.$eval("#audio", (audio) => audio.duration);
    assert.ok(length > given.microphoneSeconds - 1, `${length} s can be played`);
  },

  /** Names and words from outside are text, wherever they come out. Dropped on the page instead of chosen. */
  async "markup is text"() {
    // Browsers write a quotation mark in a file name as %22.
    const evil = "<img src=x onerror=globalThis.hacked=1>.wav";
    await page.evaluate((words) => {
      const field = document.getElementById("vocabulary");
      field.value = words;
      field.dispatchEvent(new Event("change"));
    }, '<img src=x onerror="globalThis.hacked=1">');
    await drop(given.short, evil);
    await ready();
    assert.equal((await shown()).title, evil);
    const names = await page.$$eval("#jobs .name", (all) => all.map((one) => one.textContent));
    assert.ok(names.includes(evil), names.join());
    await page.reload({ waitUntil: "networkidle0" });
    await ready();
    assert.equal((await shown()).title, evil);
    assert.equal(await page.evaluate(() => globalThis.hacked), undefined);
    assert.equal(await page.$$eval("img", (images) => images.filter((image) => !image.src.endsWith(".svg")).length), 0);
    await expecting(/TrustedHTML|trusted-types/, async () => {
      const sunk = await page.evaluate(() => {
        try {
          document.getElementById("live").innerHTML = "<b>x</b>";
          return "taken";
        } catch (error) {
          return error.name;
        }
      });
      assert.equal(sunk, "TypeError", "the browser itself refuses markup");
    });
    await page.evaluate(() => localStorage.clear());
    await page.reload({ waitUntil: "networkidle0" });
  },

  /** What is no recording says so, and nothing breaks. */
  async "refusals"() {
    await expecting(/4\d\d/, async () => {
      const garbage = path.join(given.downloads, "garbage.mp3");
      fs.writeFileSync(garbage, "this is no audio at all ".repeat(100));
      const input = await page.$("#files");
      await input.uploadFile(garbage);
      await page.waitForFunction(() => document.getElementById("failure").textContent.length > 10, { timeout: LONGEST });
      assert.ok(await page.$eval("#under-way", (row) => row.hidden));
    });
    // Nobody lets the page listen.
    await page.evaluate(() => {
      const devices = navigator.mediaDevices;
      globalThis.restore = devices.getUserMedia;
      devices.getUserMedia = () => Promise.reject(new DOMException("no", "NotAllowedError"));
    });
    await page.click("#record");
    await page.waitForFunction(() => /microphone/.test(document.getElementById("problem").textContent));
    assert.ok(await page.$eval("#recording", (part) => part.hidden));
    await page.evaluate(() => (navigator.mediaDevices.getUserMedia = globalThis.restore));
  },

  /** Cancelling ends the job and keeps what was recognised; deleting takes it out of the service. */
  async "cancel and delete"() {
    const input = await page.$("#files");
    const before = new URL(page.url()).hash;
    await input.uploadFile(given.longest);
    // Its own address, not that of the recording before.
    await page.waitForFunction(
      (before) => location.hash.includes("job=") && location.hash !== before,
      { timeout: LONGEST },
      before,
    );
    const id = new URL(page.url()).hash.slice(5);
    await page.waitForSelector("#under-way:not([hidden])");
    await expecting(/409/, async () => {
      await page.click("#cancel");
      await page.waitForSelector("#under-way", { hidden: true, timeout: LONGEST });
    });
    assert.equal(await page.$eval("#failure", (failure) => failure.textContent), "");
    const row = (id) => `.job[data-id="${id}"]`;
    await page.waitForFunction((row) => /Cancelled/.test(document.querySelector(row).textContent), {}, row(id));
    await page.click(`${row(id)} .remove`);
    await page.waitForFunction((row) => !document.querySelector(row), {}, row(id));
    assert.ok(await page.$eval("#result", (result) => result.hidden), "what is deleted is no longer on show");
    await expecting(/404/, async () => {
      assert.equal(await page.evaluate(async (id) => (await fetch(`/v1/jobs/${id}`)).status, id), 404);
    });
    // The newest of those left may be one that failed.
    for (const failed of await page.$$eval(".job", (jobs) => jobs.filter((job) => /Failed|Cancelled/.test(job.textContent)).map((job) => job.dataset.id))) {
      await page.click(`${row(failed)} .remove`);
      await page.waitForFunction((row) => !document.querySelector(row), {}, row(failed));
    }
  },

  /** Light and dark, wide and 320 pixels: everything fits, can be read and can be hit. */
  async "every screen"() {
    await page.click("#jobs .open");
    await ready();
    for (const address of [page.url(), `${url}/docs`]) {
      await page.goto(address, { waitUntil: "networkidle0" });
      if (address.includes("docs")) await page.waitForSelector(".operation");
      else await ready();
      await page.evaluate(() => document.querySelectorAll("details").forEach((details) => (details.open = true)));
      for (const scheme of ["light", "dark"]) {
        // Transitions would be measured half-way.
        const features = [{ name: "prefers-color-scheme", value: scheme }, { name: "prefers-reduced-motion", value: "reduce" }];
        await page.emulateMediaFeatures(features);
        for (const width of [320, 768, 1280]) {
          await page.setViewport({ width, height: 800 });
          const place = `${address} ${scheme} ${width}`;
          const wide = await page.evaluate(() => {
            const all = [...document.body.querySelectorAll("*")].filter((node) => node.checkVisibility());
            const over = all.filter((node) => node.getBoundingClientRect().right > innerWidth + 1);
            const hidden = (node) => node.closest(".visually-hidden, .drop, pre");
            return { page: document.documentElement.scrollWidth, over: over.filter((node) => !hidden(node)).slice(0, 5).map((node) => node.outerHTML.slice(0, 80)) };
          });
          assert.ok(wide.page <= width && wide.over.length === 0, `${place}: ${JSON.stringify(wide)}`);
        }
        const poor = await page.evaluate(contrasts);
        assert.deepEqual(poor, [], `${address} ${scheme}: contrast`);
      }
      if (address.includes("docs")) continue;
      await page.setViewport({ width: 320, height: 640 });
      const small = await page.$$eval("button, select, label.button, summary", (nodes) =>
        nodes
          .filter((node) => node.checkVisibility())
          .map((node) => [node.id || node.className, node.getBoundingClientRect()])
          .filter(([, box]) => box.height < 43 || box.width < 43)
          .map(([name]) => name),
      );
      assert.deepEqual(small, [], "targets of 44 pixels");
    }
    await page.emulateMediaFeatures([]);
    await page.setViewport({ width: 1100, height: 900 });
  },

  /** The documentation shows what the document has: every operation with its answers. */
  async "documentation"() {
    await page.goto(`${url}/docs`, { waitUntil: "networkidle0" });
    await page.waitForSelector(".operation");
    const { operations, shown } = await page.evaluate(async () => {
      const { paths } = await (await fetch("/openapi.json")).json();
      const methods = ["get", "post", "put", "patch", "delete"];
      const operations = Object.entries(paths).flatMap(([path, item]) => methods.filter((m) => item[m]).map((m) => `${m.toUpperCase()} ${path}`));
      const shown = [...document.querySelectorAll(".operation")].map((one) => {
        const [method, path] = [one.querySelector(".method"), one.querySelector("h3 code")];
        return { name: `${method.textContent} ${path.textContent}`, text: one.textContent };
      });
      return { operations, shown };
    });
    assert.deepEqual(shown.map(({ name }) => name).sort(), operations.sort());
    const transcriptions = shown.find(({ name }) => name === "POST /v1/audio/transcriptions").text;
    for (const word of ["response_format", "multipart/form-data", "200", "curl", "file=@recording.wav"]) {
      assert.ok(transcriptions.includes(word), `${word} in ${transcriptions}`);
    }
    assert.ok(await page.$$eval("pre", (all) => all.every((one) => !/undefined|\[object/.test(one.textContent))));
  },
};

/** Only where the service asks for a key: the page asks for it, once, and everything works with it. */
const withKey = {
  async "key"() {
    await expecting(/401/, async () => {
      await page.goto(`${url}/`, { waitUntil: "networkidle0" });
      await page.waitForSelector("#key:not([hidden])");
      await page.type("#key-value", "wrong");
      await page.keyboard.press("Enter");
      await page.waitForFunction(() => document.getElementById("key-value").getAttribute("aria-invalid") === "true");
      await page.type("#key-value", given.key);
      await page.keyboard.press("Enter");
      await page.waitForSelector("#key", { hidden: true });
      await page.waitForFunction(() => document.querySelectorAll("#language option").length > 90);
      await drop(given.short, "short.wav");
      await ready();
      const stores = await page.evaluate(() => [JSON.stringify({ ...localStorage }), document.cookie]);
      assert.ok(stores.every((store) => !store.includes(given.key)), "the key is in this tab alone");
      // A reload of the tab keeps it, and the sound comes with it.
      await page.reload({ waitUntil: "networkidle0" });
      await ready();
      await page.waitForFunction(() => document.getElementById("audio").readyState >= 1, { timeout: LONGEST });
      assert.match(await page.$eval("#audio", (audio) => audio.src), /^blob:/);
      assert.match(await download("srt"), /-->/);
    });
  },
};

try {
  await open();
  const wanted = given.key ? withKey : checks;
  for (const [name, check] of Object.entries(wanted)) {
    if (given.only && !new RegExp(given.only).test(name)) continue;
    const begun = Date.now();
    await check().catch((error) => {
      throw new Error(`${name}: ${error.stack}`);
    });
    assert.deepEqual(faults, [], name);
    console.log(`ok ${name} (${((Date.now() - begun) / 1000).toFixed(1)} s)`);
  }
} catch (error) {
  failed = error;
  console.error(error.message);
  await page?.screenshot({ path: path.join(given.downloads, "failed.png"), fullPage: true }).catch(() => {});
  const seen = await page?.evaluate(() => document.body.innerText).catch(() => "");
  console.error(`\nfaults: ${faults.join("\n")}\n\non the page:\n${seen}`);
}
await browser.close();
process.exit(failed ? 1 : 0);

/** A page that is watched. */
async function open() {
  page = await browser.newPage();
  page.setDefaultTimeout(Math.min(LONGEST, 60000));
  await page.setViewport({ width: 1100, height: 900 });
  await page.evaluateOnNewDocument(() => {
    document.addEventListener("securitypolicyviolation", (event) => {
      console.error(`policy violation: ${event.violatedDirective} ${event.blockedURI} ${event.sample}`);
    });
  });
  const { host } = new URL(url);
  page.on("request", (request) => {
    const address = new URL(request.url());
    if (!["blob:", "data:"].includes(address.protocol) && address.host !== host) faults.push(`went to ${request.url()}`);
  });
  page.on("console", (message) => {
    const text = `${message.text()} (${message.location().url ?? ""})`;
    if (message.type() === "error" && !expected.some((pattern) => pattern.test(text))) faults.push(`console: ${text}`);
  });
  page.on("pageerror", (error) => faults.push(`script: ${error.stack}`));
  page.on("dialog", (dialog) => dialog.accept());
  const session = await browser.target().createCDPSession();
  await session.send("Browser.setDownloadBehavior", { behavior: "allow", downloadPath: given.downloads });
}

/** Console errors of this kind are wanted while `work` runs. */
async function expecting(pattern, work) {
  expected.push(pattern);
  await work();
  await new Promise((resolve) => setTimeout(resolve, 200));
  expected.pop();
}

/** Waits until the result on show is complete. */
async function ready() {
  await page.waitForFunction(() => !document.getElementById("result").hidden, { timeout: LONGEST });
  await page.waitForFunction(
    () => !document.getElementById("actions").hidden || document.getElementById("failure").textContent,
    { timeout: LONGEST },
  );
  assert.equal(await page.$eval("#failure", (failure) => failure.textContent), "");
}

async function shown() {
  return page.evaluate(() => {
    const passages = [...document.querySelectorAll(".passage")].filter((one) => one.checkVisibility());
    const text = passages.map((one) => one.querySelector(".words").textContent).join(" ");
    return { text, count: passages.length, title: document.getElementById("result-title").textContent };
  });
}

async function option(id, value) {
  await page.select(`#${id}`, value);
}

async function check(id, on) {
  await page.$eval(
    `#${id}`,
    (box, on) => {
      if (box.checked !== on) box.click();
    },
    on,
  );
}

async function drop(file, name) {
  const bytes = fs.readFileSync(file).toString("base64");
  await page.evaluate(
    (bytes, name) => {
      const raw = new Blob([Uint8Array.from(atob(bytes), (char) => char.charCodeAt(0))]);
      const dataTransfer = new DataTransfer();
      dataTransfer.items.add(new File([raw], name, { type: "audio/wav" }));
      for (const type of ["dragenter", "dragover", "drop"]) {
        document.body.dispatchEvent(new DragEvent(type, { dataTransfer, bubbles: true, cancelable: true }));
      }
    },
    bytes,
    name,
  );
}

/** Chooses a format, presses the button and reads what arrives. */
async function download(format) {
  const before = new Set(fs.readdirSync(given.downloads));
  await page.select("#format", format);
  await page.click("#download button");
  for (let waited = 0; waited < LONGEST; waited += 50) {
    const fresh = fs.readdirSync(given.downloads).filter((name) => !before.has(name) && !/\.crdownload$|^\./.test(name));
    if (fresh.length) {
      const file = path.join(given.downloads, fresh[0]);
      const text = fs.readFileSync(file, "utf8");
      fs.rmSync(file);
      assert.ok(text.length > 0, fresh[0]);
      return text;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`no download of ${format}`);
}

/** Nine words of ten are there, in order: the smallest model mishears a few. */
function hasWords(text, words) {
  const plain = (text) => text.toLowerCase().replace(/[^a-z ]+/g, " ").split(/\s+/).filter(Boolean);
  const heard = plain(text);
  let at = 0;
  let found = 0;
  for (const word of words) {
    const next = heard.indexOf(word, at);
    if (next >= 0 && next - at < 12) {
      found += 1;
      at = next + 1;
    }
  }
  assert.ok(found >= words.length * 0.85, `${found} of ${words.length} words (${words.join(" ")}) in: ${text}`);
}

function seconds(clock) {
  return clock.split(":").reduce((sum, part) => sum * 60 + Number(part), 0);
}

/** In the page: text whose contrast with what is behind it is under 4.5 (3 where it is large), WCAG 2.2 1.4.3. */
function contrasts() {
  const pen = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  const parse = (color) => {
    pen.clearRect(0, 0, 1, 1);
    pen.fillStyle = color;
    pen.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = pen.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color[3] === 1) return color;
    }
    return [255, 255, 255, 1];
  };
  const poor = [];
  for (const node of document.body.querySelectorAll("*")) {
    const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.data.trim());
    if (!own || !node.checkVisibility({ opacityProperty: true }) || node.closest(".visually-hidden, :disabled, option, .drop, .skip")) continue;
    const style = getComputedStyle(node);
    const [a, b] = [light(parse(style.color)), light(behind(node))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const large = parseFloat(style.fontSize) >= 24;
    if (ratio < (large ? 3 : 4.5)) poor.push(`${node.tagName} ${node.className}: ${ratio.toFixed(2)} "${node.textContent.slice(0, 30)}"`);
  }
  return poor;
}
