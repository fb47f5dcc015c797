// OpenAI's Node client, unmodified, against a running service: URL SAMPLES CLIENTS transcriptions|translations.

import assert from "node:assert/strict";
import { createReadStream, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const [url, samples, clients, what] = process.argv.slice(2);
const require = createRequire(join(clients, "package.json"));
const { OpenAI, toFile, NotFoundError, BadRequestError } = require("openai");

const clip = join(samples, "requests/quick-capital.mp3");
const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "any", maxRetries: 0, timeout: 120_000 });
const { transcriptions, translations } = openai.audio;
const isTheClip = (text) => assert.match(text, /capital.*portugal/i);

const steps = {
  async files() {
    const answer = await transcriptions.create({ model: "whisper-1", file: createReadStream(clip) });
    isTheClip(answer.text);
    assert.deepEqual(answer.usage, { type: "duration", seconds: 4 });
    const bytes = readFileSync(clip);
    isTheClip((await transcriptions.create({ model: "whisper-1", file: await toFile(bytes, "a.mp3") })).text);
    const blob = new Blob([bytes], { type: "application/octet-stream" });
    isTheClip((await transcriptions.create({ model: "whisper-1", file: new File([blob], "upload") })).text);
  },
  async formats() {
    const file = () => createReadStream(clip);
    for (const response_format of ["text", "srt", "vtt"]) {
      const answer = await transcriptions.create({ model: "whisper-1", file: file(), response_format });
      assert.equal(typeof answer, "string");
      isTheClip(answer);
    }
    const timestamp_granularities = ["word", "segment"];
    const fields = { model: "whisper-1", response_format: "verbose_json", timestamp_granularities };
    const verbose = await transcriptions.create({ ...fields, file: file() });
    assert.equal(verbose.language, "english");
    assert.equal(verbose.words.map((word) => word.word).join(" "), verbose.text);
    assert.equal(verbose.segments[0].id, 0);
  },
  async streaming() {
    const file = createReadStream(join(samples, "talk.wav"));
    const stream = await transcriptions.create({
      model: "gpt-4o-transcribe",
      file,
      stream: true,
      include: ["logprobs"],
      chunking_strategy: { type: "server_vad", prefix_padding_ms: 300 },
    });
    let text = "";
    let last;
    for await (const event of stream) {
      last = event;
      if (event.type === "transcript.text.delta") text += event.delta;
    }
    assert.equal(last.type, "transcript.text.done");
    assert.equal(last.text, text);
    assert.ok(last.logprobs.length > 10 && last.usage.total_tokens > 0);
  },
  async errors() {
    const file = () => createReadStream(clip);
    await assert.rejects(transcriptions.create({ model: "nothing", file: file() }), (error) => {
      return error instanceof NotFoundError && error.code === "model_not_found" && error.param === "model";
    });
    const noise = await toFile(Buffer.from("no audio"), "a.wav");
    await assert.rejects(transcriptions.create({ model: "whisper-1", file: noise, stream: true }), BadRequestError);
  },
  async models() {
    const names = [];
    for await (const model of openai.models.list()) names.push(model.id);
    assert.ok(names.includes("whisper-1") && names.includes("gpt-transcribe"), names.join());
  },
};

const translated = {
  async translations() {
    const file = createReadStream(join(samples, "languages/de.wav"));
    const answer = await translations.create({ model: "whisper-1", file });
    assert.match(answer.text, /monday/i);
  },
};

for (const [name, step] of Object.entries(what === "translations" ? translated : steps)) {
  const began = performance.now();
  await step();
  console.log(`${name}: ${((performance.now() - began) / 1000).toFixed(1)} s`);
}
