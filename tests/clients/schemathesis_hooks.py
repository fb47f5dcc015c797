"""What random bytes cannot be: a recording. A fifth of a second of silence, 16 kHz mono."""

import io
import wave

import schemathesis
from hypothesis import strategies


def recording():
    out = io.BytesIO()
    with wave.open(out, "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(16000)
        file.writeframes(bytes(6400))
    return out.getvalue()


schemathesis.openapi.format("binary", strategies.just(recording()))
