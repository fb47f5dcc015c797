// report.html and search.html of a batch in headless Chromium, opened as files. Arguments: JSON { chromium, out (folder),
// evil (name of a recording), said (segments of the first recording), screenshots (folder or null) }. Prints a line for
// each thing that works; the first that does not ends it with exit code 1.
import assert from "node:assert/strict";
import { createRequire } from "node:module";
import path from "node:path";
import { pathToFileURL } from "node:url";

const puppeteer = createRequire(`${process.env.CLIENTS}/`)("puppeteer-core");
const given = JSON.parse(process.argv[2]);
const browser = await puppeteer.launch({
  executablePath: given.chromium,
  headless: true,
  args: ["--no-sandbox", "--autoplay-policy=no-user-gesture-required", "--mute-audio"],
});
/** What must stay empty: requests elsewhere, violations of the policy, errors. */
const faults = [];
let failed = null;
const page = await browser.newPage();
page.setDefaultTimeout(20000);
page.on("console", (message) => ["error", "warn"].includes(message.type()) && faults.push(message.text()));
page.on("pageerror", (error) => faults.push(String(error)));
page.on("dialog", async (dialog) => {
  faults.push(`a dialog: ${dialog.message()}`);
  await dialog.dismiss();
});
page.on("request", (request) => {
  if (!/^(file|data|blob):/.test(request.url())) faults.push(`a request to ${request.url()}`);
});
const open = (name, hash = "") => page.goto(pathToFileURL(path.join(given.out, name)).href + hash, { waitUntil: "load" });
const shoot = async (name) => {
  if (given.screenshots) await page.screenshot({ path: path.join(given.screenshots, `${name}.png`), fullPage: true });
};
const words = given.said.map((segment) => segment.text).join(" ").match(/[\p{L}']+/gu);
const texts = (selector) => page.$$eval(selector, (all) => all.map((one) => one.textContent));
const heard = (second) =>
  page.waitForFunction(
    (second) => {
      const audio = document.getElementById("audio");
      return audio.readyState > 0 && !audio.paused && Math.abs(audio.currentTime - second) < 2;
    },
    {},
    second,
  );
const ask = async (query) => {
  await page.$eval("#query", (input) => (input.value = ""));
  await page.type("#query", query);
  await page.$eval("#query", (input) => input.dispatchEvent(new Event("input")));
  await new Promise((resolve) => setTimeout(resolve, 250));
  return texts(".hit");
};

const checks = {
  async "figures, failures and names"() {
    await open("report.html");
    const text = await page.$eval("main", (main) => main.innerText);
    assert.match(text, /4\s+files done/);
    assert.match(text, /1\s+failed/);
    assert.match(text, /broken\.wav/);
    const names = await texts("#files td:first-child");
    assert.equal(names.length, 5);
    assert.ok(names.includes(given.evil.replace("\n", "\ufffd")), names.join());
    assert.equal(await page.$("img"), null);
    assert.ok((await texts(".chart figcaption")).includes("Languages"));
  },

  async "every transcript can be opened"() {
    const links = await page.$$eval("#files td:last-child a", (all) => all.map((one) => one.href));
    const found = links.filter((link) => link.includes(".json"));
    assert.ok(found.length >= 4, links.join());
    const other = await browser.newPage();
    for (const link of found) {
      const response = await other.goto(link);
      assert.equal(JSON.parse(await response.text()).schema, 1, link);
    }
    await other.close();
    await page.bringToFront();
  },

  async "tables are sorted and narrowed down"() {
    const column = () => page.$$eval("#files tbody tr:not([hidden]) td:nth-child(2)", (all) => all.map((one) => Number(one.dataset.v)));
    const head = (await page.$$("#files th button"))[1];
    await head.click();
    const up = await column();
    assert.deepEqual(up, up.toSorted((a, b) => a - b));
    await head.click();
    assert.deepEqual(await column(), up.toReversed());
    await page.type("#filter", "ete #1");
    assert.equal((await column()).length, 1, "accents do not matter");
    assert.equal(await page.$eval("#shown", (shown) => shown.textContent), "1 of 5");
    await page.$eval("#filter", (input) => {
      input.value = "";
      input.dispatchEvent(new Event("input"));
    });
  },

  async "a word is found and played where it was said"() {
    await open("search.html");
    await page.waitForFunction(() => document.getElementById("said").textContent.startsWith("4 recordings"));
    const at = Math.floor(words.length / 2);
    const phrase = words.slice(at, at + 3).join(" ");
    const hits = await ask(`"${phrase}"`);
    assert.equal(hits.length, 1, `${phrase}: ${hits}`);
    const marked = (await texts("mark")).join(" ").toLowerCase();
    assert.deepEqual(marked.match(/\p{L}+/gu), phrase.match(/\p{L}+/gu));
    await page.click("button.hit");
    const shown = await page.$eval(".hit.now time", (time) => time.textContent);
    const [minutes, seconds] = shown.split(":").map(Number);
    await heard(minutes * 60 + seconds);
    assert.ok(minutes * 60 + seconds > 0, "the middle of the recording is not its start");
  },

  async "beginnings, accents, phrases across passages"() {
    assert.ok((await ask(words.find((word) => word.length > 5).slice(0, 5))).length >= 1, "the beginning of a word");
    for (const query of ["GROSSE", "große", "grösse umlaut", "gro"]) assert.equal((await ask(query)).length, 1, query);
    assert.equal((await ask('"umlaut and it goes"')).length, 1, "a phrase over two passages");
    assert.equal((await texts("mark")).join(""), "umlaut, and it goes");
    assert.equal((await ask('"umlaut it"')).length, 0);
    assert.equal((await ask("mlaut")).length, 0, "not the middle of a word");
    assert.deepEqual(await ask("<img src=x>"), []);
  },

  async "a search can be linked"() {
    await open("report.html");
    await open("search.html", "#q=umlaut");
    await page.waitForSelector(".hit");
    assert.match((await texts(".hit"))[0], /Ann: /);
  },

  async "narrow and wide, light and dark"() {
    for (const scheme of ["light", "dark"]) {
      await page.emulateMediaFeatures([{ name: "prefers-color-scheme", value: scheme }]);
      for (const width of [320, 1200]) {
        await page.setViewport({ width, height: 900 });
        for (const [name, hash] of [["report.html", ""], ["search.html", `#q=${words[0]}`]]) {
          await open("report.html", "#none");
          await open(name, hash);
          const [wide, inner] = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
          assert.ok(wide <= inner, `${name} at ${width}: ${wide} of ${inner}`);
          await shoot(`${name}-${scheme}-${width}`);
        }
      }
    }
  },
};

try {
  for (const [name, check] of Object.entries(checks)) {
    await check();
    assert.deepEqual(faults, [], name);
    console.log(`works: ${name}`);
  }
} catch (error) {
  failed = error;
  await shoot("failed");
} finally {
  await browser.close();
}
if (failed) {
  console.error(failed, faults);
  process.exit(1);
}
