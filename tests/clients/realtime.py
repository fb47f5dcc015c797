"""A transcription session with OpenAI's own client: `realtime.py BASE_URL WAV`.

Prints one JSON object for each of three sessions: turns found by the server, committed by hand, and asynchronous.
"""

import array
import asyncio
import base64
import json
import sys
import wave

from openai import AsyncOpenAI, OpenAI

PREFIX = "conversation.item.input_audio_transcription."


def samples_at_24_khz(path):
    """16-bit samples of a 16 kHz WAV file, with every third one of three on a line between its neighbours."""
    with wave.open(path) as file:
        assert (file.getframerate(), file.getnchannels(), file.getsampwidth()) == (16000, 1, 2)
        source = array.array("h", file.readframes(file.getnframes()))
    source.append(source[-1])
    out = array.array("h")
    for n in range((len(source) - 1) * 3 // 2):
        whole, part = divmod(2 * n, 3)
        out.append((source[whole] * (3 - part) + source[whole + 1] * part) // 3)
    return out.tobytes()


def pieces(audio):
    for start in range(0, len(audio), 4800):
        yield base64.b64encode(audio[start : start + 4800]).decode()


def session(turn_detection):
    return {
        "type": "transcription",
        "audio": {
            "input": {
                "format": {"type": "audio/pcm", "rate": 24000},
                "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
                "turn_detection": turn_detection,
            }
        },
    }


class Collected:
    """What a session says, until a transcript is complete."""

    def __init__(self):
        self.deltas, self.transcript, self.types = "", None, []

    def take(self, event):
        self.types.append(event.type)
        assert event.type != "error", event
        if event.type == PREFIX + "delta":
            self.deltas += event.delta
        if event.type == PREFIX + "completed":
            self.transcript = event.transcript
            assert event.usage.type == "duration" and event.usage.seconds > 1, event.usage
        return self.transcript is None

    def print(self):
        print(json.dumps(vars(self)))


def synchronous(client, audio, turn_detection):
    collected = Collected()
    with client.realtime.connect(extra_query={"intent": "transcription"}) as connection:
        assert connection.recv().type == "session.created"
        connection.session.update(session=session(turn_detection))
        assert connection.recv().type == "session.updated"
        for piece in pieces(audio):
            connection.input_audio_buffer.append(audio=piece)
        if turn_detection is None:
            connection.input_audio_buffer.commit()
        else:
            connection.input_audio_buffer.append(audio=base64.b64encode(bytes(48000)).decode())
        while collected.take(connection.recv()):
            pass
    wanted = {"input_audio_buffer.committed", "conversation.item.added", "conversation.item.done"}
    if turn_detection is not None:
        wanted |= {"input_audio_buffer.speech_started", "input_audio_buffer.speech_stopped"}
    assert wanted <= set(collected.types), collected.types
    collected.print()


async def asynchronous(client, audio):
    collected = Collected()
    async with client.realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(session=session({"type": "semantic_vad", "eagerness": "high"}))
        for piece in pieces(audio + bytes(72000)):
            await connection.input_audio_buffer.append(audio=piece)
        async for event in connection:
            if not collected.take(event):
                break
    collected.print()


def main():
    base_url, path = sys.argv[1:]
    audio = samples_at_24_khz(path)
    options = {"base_url": base_url, "api_key": "any", "timeout": 60}
    synchronous(OpenAI(**options), audio, {"type": "server_vad", "silence_duration_ms": 500})
    synchronous(OpenAI(**options), audio, None)
    asyncio.run(asynchronous(AsyncOpenAI(**options), audio))


main()
