#!/usr/bin/env python3
"""A folder of recordings through `bestbox batch`, whisper-cli and faster-whisper: speed with word error rate beside it.

    batch.py [--files 40] [--long 180,240] [--threads 2] [--parts speed,overlap] [--bestbox FILE] [--json]

Two parts, one program at a time:

1. speed: the same WAV files, Whisper base in 8 bits (ggml q8_0; CTranslate2 int8), greedy, the same threads, English given.
   `bestbox batch --cleanup verbatim`; whisper-cli with -bs 1 -bo 1 and else its defaults; faster-whisper file by file and
   through its BatchedInferencePipeline. Rates are of the time without loading the model, which has a column of its own:
   a large folder pays for it once.
2. overlap: `batch --cleanup punctuate` against recognition alone (verbatim) and the language model alone (a second run over
   the first one's OUT: what was recognised is recalled). Each stage has its own cores (half of --threads): where both share
   all cores they can only take turns, and the wall time is their sum whatever the program does.

The recordings are samples/ in new combinations with new pauses, so that no two files are equal and nothing is recalled;
they repeat the same few sentences, so the error rate compares programs in this run and says little beyond it. Word errors
are counted by `bestbox bench --wer` (OpenAI's normaliser). Python's standard library only. Exits with 1 when a text is missing.
"""

import argparse
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
import wave

ROOT = pathlib.Path(__file__).resolve().parent.parent
RATE = 16000
# Seconds that any single program may take.
PATIENCE = 3600


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=40, help="short recordings")
    parser.add_argument("--long", default="180,240", help="seconds of the long ones, with commas")
    parser.add_argument("--overlap-files", type=int, default=12)
    parser.add_argument("--overlap-long", default="60")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--parts", default="speed,overlap")
    parser.add_argument("--bestbox", default=str(ROOT / "target/release/bestbox"))
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def say(text):
    print(text, file=sys.stderr, flush=True)


def clips():
    """(PCM of 16 kHz mono, text) of each English sample."""
    found = []
    for line in (ROOT / "samples/manifest.jsonl").read_text().splitlines():
        entry = json.loads(line)
        if entry["language"] == "en":
            command = ["ffmpeg", "-v", "error", "-i", str(ROOT / "samples" / entry["audio"])]
            command += ["-ac", "1", "-ar", str(RATE), "-f", "s16le", "-"]
            found.append((subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout, entry["text"]))
    return found


def silence(seconds):
    return bytes(2 * int(seconds * RATE))


class Folder:
    """WAV files with what is said in them: one to three samples each, and long ones."""

    def __init__(self, path, files, long):
        self.path, self.references, self.seconds = pathlib.Path(path), {}, 0.0
        self.path.mkdir()
        samples = clips()
        for k in range(files):
            chosen = [samples[(k + 5 * i) % len(samples)] for i in range(1 + k // len(samples) % 3)]
            self.write(f"short-{k:03}", chosen, 0.2 + 0.01 * k)
        for k, wanted in enumerate(float(part) for part in long.split(",") if part):
            chosen, length = [], 0.0
            while length < wanted:
                chosen.append(samples[(3 * k + len(chosen)) % len(samples)])
                length += len(chosen[-1][0]) / 2 / RATE + 0.6
            self.write(f"long-{k}", chosen, 0.6 + 0.01 * k)

    def write(self, name, chosen, pause):
        pcm = silence(pause) + b"".join(raw + silence(pause) for raw, _ in chosen)
        with wave.open(str(self.path / f"{name}.wav"), "wb") as out:
            out.setnchannels(1), out.setsampwidth(2), out.setframerate(RATE)
            out.writeframes(pcm)
        self.references[name] = " ".join(text for _, text in chosen)
        self.seconds += len(pcm) / 2 / RATE

    def files(self):
        return [str(self.path / f"{name}.wav") for name in self.references]


def read_texts(folder, references):
    return {name: (folder / f"{name}.txt").read_text() for name in references if (folder / f"{name}.txt").is_file()}


def run_bestbox(args, folder, out, cleanup, more=()):
    """Wall and loading seconds, texts. Without the user's own configuration."""
    config = out.parent / "empty.toml"
    config.touch()
    environment = {k: v for k, v in os.environ.items() if not k.startswith("BESTBOX_") or k == "BESTBOX_CACHE"}
    command = [args.bestbox, "--config", str(config), "batch", str(folder.path), str(out), "--cleanup", cleanup, "--formats", "txt",
               "--language", "en", "--model", "base-q8_0", "--recognizers", "1", "--progress", "json", *more]
    begun = time.monotonic()
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, timeout=PATIENCE)
    wall = time.monotonic() - begun
    if done.returncode != 0:
        raise SystemExit(f"bestbox batch failed with {done.returncode}")
    end = json.loads(done.stdout.splitlines()[-1])
    return {"wall": wall, "loading": end["loading_seconds"] or 0.0, "busy": end["recognizer_busy_seconds"] or 0.0,
            "texts": read_texts(out, folder.references)}


def run_whisper_cli(args, folder, out, cache):
    out.mkdir()
    command = [str(cache / "bin/whisper-cli"), "-m", str(cache / "models/ggml-base-q8_0.bin"), "-t", str(args.threads), "-l", "en",
               "-bs", "1", "-bo", "1", "-otxt"]
    for name, file in zip(folder.references, folder.files()):
        command += ["-f", file, "-of", str(out / name)]
    begun = time.monotonic()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, timeout=PATIENCE)
    wall = time.monotonic() - begun
    if done.returncode != 0:
        raise SystemExit(f"whisper-cli failed with {done.returncode}: {done.stderr[-500:]}")
    loading = float(re.search(r"load time = *([0-9.]+) ms", done.stderr).group(1)) / 1000
    return {"wall": wall, "loading": loading, "texts": read_texts(out, folder.references)}


def run_faster_whisper(args, folder, cache, more=()):
    command = [str(cache / "bench-venv/bin/python"), str(ROOT / "bench/faster_whisper_peer.py"), str(cache / "bench/whisper-base-ct2")]
    command += ["--threads", str(args.threads), "--language", "en", *more]
    begun = time.monotonic()
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as peer:
        if not peer.stdout.readline():
            raise SystemExit("faster-whisper does not start: run bench/setup-peers")
        loading = time.monotonic() - begun
        answer, _ = peer.communicate("".join(f"{file}\n" for file in folder.files()), timeout=PATIENCE)
        wall = time.monotonic() - begun
    answers = [json.loads(line) for line in answer.splitlines()]
    texts = {pathlib.Path(each["file"]).stem: each["text"] for each in answers if "text" in each}
    return {"wall": wall, "loading": loading, "texts": texts}


def word_error_rate(args, folder, texts, place):
    """Per cent; the errors of all files over all their words."""
    pairs = [{"reference": folder.references[name], "hypothesis": text, "language": "en"} for name, text in texts.items()]
    file = place / "pairs.jsonl"
    file.write_text("".join(json.dumps(pair) + "\n" for pair in pairs))
    lines = subprocess.run([args.bestbox, "bench", "--wer", str(file)], check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()
    counts = [json.loads(line) for line in lines]
    return 100 * sum(each["errors"] for each in counts) / max(1, sum(each["words"] for each in counts))


def speed(args, place, cache):
    folder = Folder(place / "speed", args.files, args.long)
    count = len(folder.references)
    title = f"{count} files, {folder.seconds / 60:.1f} minutes of speech, Whisper base in 8 bits, {args.threads} threads"
    say(f"speed: {title}")
    threads = ("--threads", str(args.threads))
    programs = [
        ("bestbox batch", lambda: run_bestbox(args, folder, place / "out-bestbox", "verbatim", threads)),
        ("whisper-cli", lambda: run_whisper_cli(args, folder, place / "out-cli", cache)),
        ("faster-whisper, file by file", lambda: run_faster_whisper(args, folder, cache)),
        ("faster-whisper, batched (8)", lambda: run_faster_whisper(args, folder, cache, ("--batch", "8"))),
    ]
    rows = []
    for name, run in programs:
        result = run()
        work = result["wall"] - result["loading"]
        rows.append({"program": name, "wall_seconds": result["wall"], "loading_seconds": result["loading"],
                     "files_per_hour": count / work * 3600, "realtime": folder.seconds / work,
                     "wer": word_error_rate(args, folder, result["texts"], place), "missing": count - len(result["texts"])})
        say(f"  {name}: {result['wall']:.1f} s, {folder.seconds / work:.1f}x real time")
    for row in rows:
        row["bestbox_is_faster_by"] = rows[0]["realtime"] / row["realtime"]
    if not args.json:
        print(title)
        print(f"{'':30}{'wall s':>8}{'loading s':>11}{'files/hour':>12}{'x realtime':>12}{'WER %':>7}{'bestbox is faster by':>22}")
        for row in rows:
            print(f"{row['program']:30}{row['wall_seconds']:8.1f}{row['loading_seconds']:11.1f}{row['files_per_hour']:12.0f}"
                  f"{row['realtime']:12.1f}{row['wer']:7.1f}{row['bestbox_is_faster_by']:21.2f}x", flush=True)
    for row in rows:
        if row["missing"]:
            say(f"{row['program']}: {row['missing']} texts are missing")
    return {"what": title, "programs": rows}, all(row["missing"] == 0 for row in rows)


def overlap(args, place):
    folder = Folder(place / "overlap", args.overlap_files, args.overlap_long)
    each = max(1, args.threads // 2)
    title = f"{len(folder.references)} files, {folder.seconds / 60:.1f} minutes of speech, {each} thread(s) for each stage"
    say(f"overlap: {title}")
    more = ("--threads", str(each), "--set", f"light.threads={each}")
    # What the language model keeps between runs is warm for all of them.
    warm = Folder(place / "warm", 1, "")
    run_bestbox(args, warm, place / "out-warm", "punctuate", more)
    stages = [
        ("recognition alone", place / "out-stages", "verbatim"),
        ("language model alone", place / "out-stages", "punctuate"),
        ("both", place / "out-both", "punctuate"),
    ]
    walls, complete = {}, True
    for name, out, cleanup in stages:
        result = run_bestbox(args, folder, out, cleanup, more)
        walls[name] = result["wall"]
        complete &= len(result["texts"]) == len(folder.references)
        say(f"  {name}: {result['wall']:.1f} s, recogniser busy {result['busy']:.1f} s")
        if name == "language model alone" and result["busy"] > 0:
            say("  warning: it recognised again; the figure is not of the language model alone")
    slower = max(walls["recognition alone"], walls["language model alone"])
    over = 100 * (walls["both"] / slower - 1)
    verdict = "within 10 %" if over <= 10 else "NOT within 10 %"
    if not args.json:
        print(title)
        for name, wall in walls.items():
            print(f"{name:30}{wall:8.1f} s")
        print(f"both against the slower one: {over:+.1f} %: {verdict}", flush=True)
    return {"what": title, "wall_seconds": walls, "over_the_slower_percent": over}, complete


def cache_folder():
    default = pathlib.Path.home() / ("Library/Caches" if sys.platform == "darwin" else ".cache")
    base = default if sys.platform == "darwin" else pathlib.Path(os.environ.get("XDG_CACHE_HOME") or default)
    return pathlib.Path(os.environ.get("BESTBOX_CACHE") or base / "bestbox")


def main():
    args = arguments()
    cache, found, complete = cache_folder(), {}, True
    with tempfile.TemporaryDirectory(prefix="bestbox-bench-") as place:
        if "speed" in args.parts:
            found["speed"], whole = speed(args, pathlib.Path(place), cache)
            complete &= whole
        if "overlap" in args.parts:
            found["overlap"], whole = overlap(args, pathlib.Path(place))
            complete &= whole
    if args.json:
        print(json.dumps(found, indent=2))
    sys.exit(0 if complete else 1)


if __name__ == "__main__":
    main()
