#!/usr/bin/env python3
"""Load test of `bestbox serve`: many clients at once, short clips and one long recording, for a bounded time.

    serve_load.py [--clients 64] [--seconds 120] [--long-minutes 30] [--model base-q8_0] [--bestbox FILE]

Starts its own service on a free port of 127.0.0.1 and stops it. Four parts, in one run:

1. alone: each clip by itself, through the service: the text it must give under load too;
2. recogniser: the same clips, one after the other, through `bestbox transcribe`: what the machine can do;
3. short: the clients send clips of 2-10 s for the given time, as fast as they are answered;
4. mixed: the same beside one long recording that another user sends.

A 429 or 503 is sent again after its Retry-After. Printed, and with --json as JSON: lost, different and repeated answers,
p50/p95 of parts 3 and 4 and their ratio, throughput against part 2, memory of the service at 10 s and at the end.
Exits with 1 when an answer was lost or differs, or a bound of the issue is missed. Python's standard library only.
"""

import argparse
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.parse
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent
# Seconds within which any single request must be answered; far above what the queue of so many clients needs.
PATIENCE = 600


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--long-minutes", type=float, default=30)
    parser.add_argument("--model", default="base-q8_0")
    parser.add_argument("--bestbox", default=str(ROOT / "target/release/bestbox"))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def say(text):
    print(text, file=sys.stderr, flush=True)


def make_clips(folder):
    """Clips of 2-10 s out of samples/, and all of it as one array of 16 kHz mono PCM."""
    clips, pcm = [], bytearray()
    for line in (ROOT / "samples/manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["language"] != "en":
            continue
        path = ROOT / "samples" / entry["audio"]
        raw = subprocess.run(
            ["ffmpeg", "-v", "error", "-i", str(path), "-ac", "1", "-ar", "16000", "-f", "s16le", "-"],
            check=True, stdout=subprocess.PIPE).stdout
        pcm += raw + bytes(16000 * 2)
        if 2 <= len(raw) / 32000 <= 10:
            clips.append((entry["audio"], path.read_bytes(), len(raw) / 32000))
    return clips, bytes(pcm)


def write_long(folder, pcm, minutes):
    path = os.path.join(folder, "long.wav")
    size = int(minutes * 60 * 32000)
    import wave
    with wave.open(path, "wb") as out:
        out.setnchannels(1), out.setsampwidth(2), out.setframerate(16000)
        while size > 0:
            out.writeframes(pcm[:size])
            size -= len(pcm)
    return path


def body_of(name, audio, fields):
    boundary = uuid.uuid4().hex
    parts = [f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'.encode() for k, v in fields]
    head = (f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{os.path.basename(name)}"\r\n'
            "Content-Type: application/octet-stream\r\n\r\n").encode()
    return b"".join(parts) + head + audio + f"\r\n--{boundary}--\r\n".encode(), boundary


class Client:
    """One connection; sends again what was refused for the moment."""

    def __init__(self, url, key):
        self.host, self.key, self.connection, self.refused = urllib.parse.urlsplit(url).netloc, key, None, 0

    def transcribe(self, name, audio, patience=PATIENCE):
        body, boundary = body_of(name, audio, [("model", "whisper-1"), ("language", "en")])
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", "Authorization": f"Bearer {self.key}"}
        begun = time.monotonic()
        while time.monotonic() - begun < patience:
            try:
                if self.connection is None:
                    self.connection = http.client.HTTPConnection(self.host, timeout=patience)
                self.connection.request("POST", "/v1/audio/transcriptions", body, headers)
                response = self.connection.getresponse()
                answer = response.read()
            except (http.client.HTTPException, ConnectionError, socket.timeout) as error:
                self.connection.close()
                self.connection = None
                # An upload that is refused from its head may see the connection closed under it.
                self.refused += 1
                say(f"  {type(error).__name__} on {name}; again")
                time.sleep(0.5)
                continue
            if response.status in (429, 503):
                self.refused += 1
                time.sleep(int(response.headers["Retry-After"]))
                continue
            if response.status != 200:
                raise RuntimeError(f"{response.status}: {answer[:300]!r}")
            return json.loads(answer)["text"], time.monotonic() - begun
        raise RuntimeError("no answer within patience")


class Service:
    def __init__(self, bestbox, model, folder):
        # Two users, so that the long recording is another client than the short ones.
        keys, self.keys = "", {}
        import hashlib
        for name in ("short", "long"):
            self.keys[name] = "bb_" + uuid.uuid4().hex + uuid.uuid4().hex
            digest = hashlib.sha256(self.keys[name].encode()).hexdigest()
            keys += f'[[serve.keys]]\nname = "{name}"\nsha256 = "{digest}"\n'
        config = os.path.join(folder, "bestbox.toml")
        pathlib.Path(config).write_text(keys)
        self.process = subprocess.Popen(
            [bestbox, "--config", config, "serve", "--port", "0", "--model", model,
             "--set", f"serve.data_dir={folder}/data", "--set", "light.manage=false", "--set",
             "light.base_url=http://127.0.0.1:9", "--set", "heavy.manage=false", "--set", "heavy.base_url=http://127.0.0.1:9"],
            stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
        self.url, self.said = None, []
        threading.Thread(target=self.read, daemon=True).start()
        deadline = time.monotonic() + 120
        while not self.ready():
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit("the service does not start: " + "".join(self.said))
            time.sleep(0.1)

    def read(self):
        for line in self.process.stderr:
            self.said.append(line)
            found = re.search(r"listens on (http://\S+)", line)
            if found:
                self.url = found.group(1)

    def ready(self):
        if not self.url:
            return False
        try:
            connection = http.client.HTTPConnection(urllib.parse.urlsplit(self.url).netloc, timeout=5)
            connection.request("GET", "/health/ready")
            return connection.getresponse().status == 200
        except OSError:
            return False

    def memory(self):
        """Resident MiB of the service itself."""
        status = pathlib.Path(f"/proc/{self.process.pid}/status").read_text()
        return int(re.search(r"VmRSS:\s+(\d+)", status).group(1)) / 1024

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Load:
    """Clients in a closed loop for a bounded time."""

    def __init__(self, service, clips, expected, options):
        self.service, self.clips, self.expected, self.options = service, clips, expected, options
        self.seconds, self.audio, self.lost, self.wrong, self.refused = [], 0.0, [], [], 0
        self.lock = threading.Lock()

    def client(self, number, until):
        client = Client(self.service.url, self.service.keys["short"])
        turn = number
        while time.monotonic() < until:
            name, audio, length = self.clips[turn % len(self.clips)]
            turn += 1
            try:
                text, seconds = client.transcribe(name, audio)
            except Exception as error:  # whatever it was, the answer is lost
                with self.lock:
                    self.lost.append(f"{name}: {error}")
                time.sleep(0.2)
                continue
            with self.lock:
                self.seconds.append(seconds)
                self.audio += length
                if text != self.expected[name]:
                    self.wrong.append(f"{name}: {text!r} instead of {self.expected[name]!r}")
        with self.lock:
            self.refused += client.refused

    def run(self):
        begun = time.monotonic()
        until = begun + self.options.seconds
        threads = [threading.Thread(target=self.client, args=(n, until)) for n in range(self.options.clients)]
        for thread in threads:
            thread.start()
        time.sleep(min(10, self.options.seconds / 3))
        self.early = self.service.memory()
        self.peak = self.early
        while any(thread.is_alive() for thread in threads):
            self.peak = max(self.peak, self.service.memory())
            time.sleep(0.5)
        self.wall = time.monotonic() - begun
        self.late = self.service.memory()
        return self

    def report(self):
        ordered = sorted(self.seconds)
        quantile = lambda q: ordered[min(len(ordered) - 1, int(q * len(ordered)))] if ordered else float("nan")
        return {"answers": len(ordered), "lost": len(self.lost), "different": len(self.wrong), "repeated": self.refused,
                "p50_s": quantile(0.5), "p95_s": quantile(0.95), "wall_s": self.wall,
                "audio_per_s": self.audio / self.wall,
                "memory_mib": {"at_10_s": self.early, "peak": self.peak, "end": self.late}}


def recogniser_alone(options, clips):
    """Audio seconds a second of one engine on the same clips, one after the other. Recognition only, no queue."""
    files = [str(ROOT / "samples" / name) for name, _, _ in clips]
    run = [options.bestbox, "--set", f"speech.model={options.model}", "--set", "speech.language=en", "transcribe",
           "--cleanup", "verbatim", "--route", "text", "--format", "jsonl", *files]
    rates = []
    for _ in range(3):
        out = subprocess.run(run, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).stdout
        outcomes = [json.loads(line) for line in out.splitlines()]
        spent = sum(o["timings"]["recognize_ms"] for o in outcomes) / 1000
        rates.append(sum(o["timings"]["audio_s"] for o in outcomes) / spent)
    return statistics.median(rates)


def main():
    options = arguments()
    with tempfile.TemporaryDirectory() as folder:
        clips, pcm = make_clips(folder)
        long = write_long(folder, pcm, options.long_minutes)
        say(f"{len(clips)} clips of 2-10 s, one recording of {options.long_minutes:g} minutes, {options.clients} clients")
        service = Service(options.bestbox, options.model, folder)
        try:
            result = measure(service, clips, long, options)
        finally:
            service.stop()
    print(json.dumps(result, indent=2) if options.json else table(result))
    sys.exit(0 if result["ok"] else 1)


def measure(service, clips, long, options):
    client = Client(service.url, service.keys["short"])
    expected = {name: client.transcribe(name, audio)[0] for name, audio, _ in clips}
    say("alone: done")
    before = recogniser_alone(options, clips)
    say(f"recogniser: {before:.1f} s of audio a second")
    short = Load(service, clips, expected, options).run()
    say(f"short: {json.dumps(short.report())}")
    answer = {}

    def send_long():
        patience = options.seconds + 60 * options.long_minutes
        try:
            with open(long, "rb") as file:
                answer["text"], answer["seconds"] = Client(service.url, service.keys["long"]).transcribe(
                    "long.wav", file.read(), patience)
        except Exception as error:
            answer["error"] = str(error)

    sender = threading.Thread(target=send_long)
    sender.start()
    mixed = Load(service, clips, expected, options).run()
    say(f"mixed: {json.dumps(mixed.report())}")
    sender.join()
    after = recogniser_alone(options, clips)
    reports = {"short": short.report(), "mixed": mixed.report()}
    rate = statistics.mean([before, after])
    result = {
        "recogniser_audio_per_s": {"before": before, "after": after},
        **reports,
        "long": {"seconds": answer.get("seconds"), "words": len(answer.get("text", "").split()), "error": answer.get("error")},
        "p95_ratio": reports["mixed"]["p95_s"] / reports["short"]["p95_s"],
        "throughput_ratio": reports["short"]["audio_per_s"] / rate,
        "memory_growth_mib": max(run["memory_mib"]["peak"] - run["memory_mib"]["at_10_s"] for run in reports.values()),
        "problems": (short.lost + mixed.lost + short.wrong + mixed.wrong)[:10],
    }
    result["ok"] = (not result["problems"] and answer.get("error") is None and result["p95_ratio"] <= 1.5
                    and result["memory_growth_mib"] <= 100 and result["throughput_ratio"] >= 0.95)
    return result


def table(result):
    lines = [f"{'':8}{'answers':>8}{'lost':>6}{'differ':>8}{'again':>7}{'p50 s':>8}{'p95 s':>8}{'audio/s':>9}{'MiB 10 s':>10}{'peak':>7}"]
    for name in ("short", "mixed"):
        r = result[name]
        lines.append(f"{name:8}{r['answers']:8}{r['lost']:6}{r['different']:8}{r['repeated']:7}{r['p50_s']:8.2f}{r['p95_s']:8.2f}"
                     f"{r['audio_per_s']:9.1f}{r['memory_mib']['at_10_s']:10.0f}{r['memory_mib']['peak']:7.0f}")
    alone = result["recogniser_audio_per_s"]
    long = result["long"]
    took = f"{long['seconds']:.0f} s, {long['words']} words" if long["seconds"] else long["error"]
    return "\n".join(lines + [
        "",
        f"p95 beside the long recording / without it   {result['p95_ratio']:.2f}   (at most 1.5)",
        f"throughput / recogniser alone                {result['throughput_ratio']:.2f}   (at least 0.95; alone {alone['before']:.1f} before, {alone['after']:.1f} s/s after)",
        f"memory after the first 10 s                  +{result['memory_growth_mib']:.0f} MiB   (at most 100)",
        f"long recording                               {took}",
        *[f"problem: {problem}" for problem in result["problems"]],
        "all bounds kept" if result["ok"] else "A BOUND IS MISSED",
    ])


if __name__ == "__main__":
    main()
