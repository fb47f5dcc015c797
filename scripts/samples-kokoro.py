"""Speaks one sentence with Kokoro-82M (ONNX, Apache-2.0) into a 16 kHz WAV file. Called by make-samples.

usage: samples-kokoro.py FOLDER LANGUAGE VOICE OUTPUT.wav   (the text on standard input)

FOLDER holds kokoro.onnx, vocab.json and voices/VOICE.bin. Phonemes come from espeak-ng for French, Spanish and German and
from misaki for Chinese, as in Kokoro's own pipeline.
"""

import json
import re
import subprocess
import sys
import wave

import numpy as np
import onnxruntime

MODEL_RATE = 24_000
# Diphthongs and affricates that Kokoro knows as one symbol, written with espeak's tie.
TIED = {"t^ʃ": "ʧ", "d^ʒ": "ʤ", "t^s": "ʦ", "d^z": "ʣ"}


def phonemes(text, language):
    if language == "zh":
        from misaki import zh

        spoken = zh.ZHG2P()(text)
        return spoken[0] if isinstance(spoken, tuple) else spoken
    voice = {"fr": "fr-fr"}.get(language, language)
    parts = []
    # Clause by clause, so that the punctuation, which Kokoro reads as pauses, stays.
    for clause, mark in re.findall(r"([^,.;:!?]+)([,.;:!?]*)", text):
        ipa = subprocess.run(
            ["espeak-ng", "-q", "--ipa", "--tie=^", "-v", voice, clause.strip()],
            capture_output=True, text=True, check=True,
        ).stdout
        ipa = re.sub(r"\([a-z-]+\)", "", " ".join(ipa.split()))
        for tied, single in TIED.items():
            ipa = ipa.replace(tied, single)
        parts.append(ipa.replace("^", "") + mark)
    return " ".join(parts)


def main(folder, language, voice, output):
    with open(f"{folder}/vocab.json", encoding="utf-8") as file:
        vocabulary = json.load(file)["vocab"]
    tokens = [vocabulary[c] for c in phonemes(sys.stdin.read().strip(), language) if c in vocabulary]
    styles = np.fromfile(f"{folder}/voices/{voice}.bin", dtype=np.float32).reshape(-1, 1, 256)
    session = onnxruntime.InferenceSession(f"{folder}/kokoro.onnx", providers=["CPUExecutionProvider"])
    audio = session.run(None, {
        "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
        "style": styles[len(tokens) - 1],
        "speed": np.array([0.9], dtype=np.float32),
    })[0].ravel()
    with wave.open(output, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MODEL_RATE)
        file.writeframes((np.clip(audio, -1, 1) * 32767).astype(np.int16).tobytes())


main(*sys.argv[1:])
