#!/usr/bin/env python3
"""faster-whisper as a peer of `bestbox bench`: int8, greedy, same weights, same threads.

    faster_whisper_peer.py MODEL_FOLDER [--threads N] [--language xx] [--repeats N] [--vad] [--batch N]

Speaks the protocol of bench/whisper-default: says {"ready": …}, then reads one WAV path a line (16 kHz, mono, 16-bit) and
answers each with one JSON line per repeat, {"file": …, "ms": …, "text": …} or {"file": …, "error": …}. Only recognition is
timed, not the reading of the file. Run it with the Python that bench/setup-peers installs.
"""

import argparse
import json
import os
import sys
import time
import wave


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", help="CTranslate2 folder of a Whisper model")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--language", default="en")
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--vad", action="store_true", help="faster-whisper's own VAD filter (off by default, as there)")
    parser.add_argument("--batch", type=int, default=0, help="BatchedInferencePipeline with so many windows at once (it uses the VAD filter)")
    return parser.parse_args()


def read_wav(path, numpy):
    with wave.open(path, "rb") as file:
        if (file.getframerate(), file.getnchannels(), file.getsampwidth()) != (16000, 1, 2):
            raise ValueError("not a WAV file of 16 kHz, mono, 16-bit")
        samples = numpy.frombuffer(file.readframes(file.getnframes()), dtype="<i2")
    return samples.astype(numpy.float32) / 32768.0


def main():
    args = arguments()
    # Read by the numeric libraries when they are imported.
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ["HF_HUB_OFFLINE"] = "1"
    import numpy
    from faster_whisper import WhisperModel

    started = time.perf_counter()
    model = WhisperModel(
        args.model, device="cpu", compute_type="int8", cpu_threads=args.threads, num_workers=1, local_files_only=True
    )

    engine, more = model, {}
    if args.batch:
        from faster_whisper import BatchedInferencePipeline

        engine, more = BatchedInferencePipeline(model), {"batch_size": args.batch}

    def recognize(samples, vad):
        segments, _ = engine.transcribe(samples, language=args.language, beam_size=1, vad_filter=vad, **more)
        # The segments are a generator: recognition happens here.
        return "".join(segment.text for segment in segments).strip()

    recognize(numpy.zeros(16000, dtype=numpy.float32), bool(args.batch))
    load_ms = round((time.perf_counter() - started) * 1000, 1)
    say({"ready": "faster-whisper", "threads": args.threads, "vad": args.vad, "load_ms": load_ms})
    for line in sys.stdin:
        path = line.rstrip("\r\n")
        if not path.strip():
            continue
        try:
            samples = read_wav(path, numpy)
            for _ in range(args.repeats):
                started = time.perf_counter()
                text = recognize(samples, args.vad or bool(args.batch))
                say({"file": path, "ms": round((time.perf_counter() - started) * 1000, 1), "text": text})
        except (OSError, EOFError, ValueError, RuntimeError, wave.Error) as error:
            say({"file": path, "error": str(error)})


def say(answer):
    print(json.dumps(answer, ensure_ascii=False), flush=True)


if __name__ == "__main__":
    main()
