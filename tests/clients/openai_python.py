"""OpenAI's Python client, unmodified, against a running service: URL SAMPLES transcriptions|translations PLACES."""

import asyncio
import io
import socket
import sys
import time
from pathlib import Path

import openai
from openai import AsyncOpenAI, OpenAI

URL, SAMPLES, WHAT, PLACES = sys.argv[1], Path(sys.argv[2]), sys.argv[3], int(sys.argv[4])
CLIP = SAMPLES / "requests/quick-capital.mp3"
CLIENT = OpenAI(base_url=f"{URL}/v1", api_key="any", max_retries=0, timeout=120)


def is_the_clip(text):
    assert "capital" in text.lower() and "portugal" in text.lower(), text


def formats():
    create = CLIENT.audio.transcriptions.create
    answer = create(model="whisper-1", file=CLIP.open("rb"))
    is_the_clip(answer.text)
    assert answer.usage.type == "duration" and answer.usage.seconds == 4, answer
    for name in ("text", "srt", "vtt"):
        answer = create(model="whisper-1", file=CLIP, response_format=name)
        assert isinstance(answer, str), type(answer)
        is_the_clip(answer)
    assert answer.startswith("WEBVTT")
    verbose = create(
        model="whisper-1",
        file=CLIP,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        language="en",
        prompt="Geography.",
        temperature=0.0,
    )
    is_the_clip(verbose.text)
    assert verbose.language == "english" and 3.3 < verbose.duration < 3.6, verbose
    assert [word.word for word in verbose.words] == verbose.text.split(), verbose.words
    assert all(word.start <= word.end for word in verbose.words)
    segment = verbose.segments[0]
    for field in type(segment).model_fields:
        assert getattr(segment, field) is not None, field
    assert verbose.usage.seconds == 4


def newer_fields():
    """What the 2026 models take: lists in brackets, a nested object, probabilities."""
    answer = CLIENT.audio.transcriptions.create(
        model="gpt-transcribe",
        file=CLIP,
        languages=["en", "de"],
        keywords=["Portugal", "capital"],
        include=["logprobs"],
        chunking_strategy={"type": "server_vad", "silence_duration_ms": 500, "threshold": 0.5},
    )
    is_the_clip(answer.text)
    assert [language.code for language in answer.languages] == ["en"], answer.languages
    assert len(answer.logprobs) > 3 and all(token.logprob <= 0 for token in answer.logprobs)
    for model in ("gpt-4o-transcribe", "gpt-4o-mini-transcribe"):
        is_the_clip(CLIENT.audio.transcriptions.create(model=model, file=CLIP, chunking_strategy="auto").text)


def files():
    """A file in memory, with and without a name; a tuple; a generator would be the same bytes."""
    named = io.BytesIO(CLIP.read_bytes())
    named.name = "capital.mp3"
    is_the_clip(CLIENT.audio.transcriptions.create(model="whisper-1", file=named).text)
    is_the_clip(CLIENT.audio.transcriptions.create(model="whisper-1", file=io.BytesIO(CLIP.read_bytes())).text)
    answer = CLIENT.audio.transcriptions.create(model="whisper-1", file=("über\"x.mp3", CLIP.read_bytes(), "audio/mpeg"))
    is_the_clip(answer.text)


def streaming():
    began, first, text = time.monotonic(), None, ""
    stream = CLIENT.audio.transcriptions.create(model="gpt-4o-transcribe", file=SAMPLES / "talk.wav", stream=True)
    for event in stream:
        if event.type == "transcript.text.delta":
            first = first or time.monotonic()
            text += event.delta
    assert event.type == "transcript.text.done" and event.text == text, (event, text)
    assert event.usage.seconds > 10, event.usage
    assert time.monotonic() - first > 0.03, "the first words came with the last ones"
    assert first > began

    async def asynchronous():
        async with AsyncOpenAI(base_url=f"{URL}/v1", api_key="any", max_retries=0, timeout=120) as client:
            kinds = []
            async for event in await client.audio.transcriptions.create(model="whisper-1", file=CLIP, stream=True):
                kinds.append(event.type)
            return kinds

    kinds = asyncio.run(asynchronous())
    assert kinds == ["transcript.text.delta", "transcript.text.done"], kinds


def models():
    names = [model.id for model in CLIENT.models.list()]
    assert {"whisper-1", "gpt-4o-transcribe", "gpt-transcribe", "tiny.en-q8_0"} <= set(names), names
    assert CLIENT.models.retrieve("whisper-1").object == "model"
    raises(openai.NotFoundError, "model", "model_not_found", lambda: CLIENT.models.retrieve("nothing"))


def raises(kind, param, code, call):
    try:
        call()
    except kind as error:
        assert error.param == param and error.code == code, (error.param, error.code)
        assert error.body["message"], error.body
        return
    raise AssertionError(f"no {kind.__name__}")


def errors():
    create = CLIENT.audio.transcriptions.create
    wrong = {"model": "whisper-1", "file": CLIP}
    raises(openai.NotFoundError, "model", "model_not_found", lambda: create(model="nothing", file=CLIP))
    raises(openai.BadRequestError, "temperature", None, lambda: create(**wrong, temperature=7))
    raises(openai.BadRequestError, "response_format", "unsupported_value", lambda: create(**wrong, response_format="diarized_json"))
    for stream in (False, True):
        raises(openai.BadRequestError, "file", "invalid_audio", lambda: create(model="whisper-1", file=("a.wav", b"no audio"), stream=stream))
    raises(openai.BadRequestError, "file", "invalid_audio", lambda: create(model="whisper-1", file=("a.wav", b"")))


def busy():
    """Uploads that do not end hold every place: the next request is told to come back."""
    host, port = URL.removeprefix("http://").split(":")
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n"
    )
    holding = []

    def hold():
        holding.append(socket.create_connection((host, int(port))))
        holding[-1].sendall(head.encode())

    for _ in range(PLACES):
        hold()
    deadline = time.monotonic() + 30
    while True:
        try:
            CLIENT.audio.transcriptions.create(model="whisper-1", file=CLIP)
        except openai.RateLimitError as error:
            assert int(error.response.headers["retry-after"]) >= 1 and error.code == "queue_full", error
            break
        assert time.monotonic() < deadline, "every place is taken, and yet there is room"
        # It was faster than one of them, which was refused in its place.
        hold()
    for connection in holding:
        connection.close()
    # The client's own retries get through as soon as there is room.
    patient = CLIENT.with_options(max_retries=5)
    is_the_clip(patient.audio.transcriptions.create(model="whisper-1", file=CLIP).text)


def translations():
    spoken = SAMPLES / "languages/de.wav"
    answer = CLIENT.audio.translations.create(model="whisper-1", file=spoken)
    assert "monday" in answer.text.lower(), answer
    verbose = CLIENT.audio.translations.create(model="whisper-1", file=spoken, response_format="verbose_json")
    assert verbose.language == "english" and verbose.duration > 5 and verbose.segments, verbose
    srt = CLIENT.audio.translations.create(model="whisper-1", file=spoken, response_format="srt")
    assert isinstance(srt, str) and srt.startswith("1\n00:00:"), srt
    german = CLIENT.audio.transcriptions.create(model="whisper-1", file=spoken, response_format="verbose_json")
    assert german.language == "german" and "montag" in german.text.lower(), german


STEPS = {
    "transcriptions": [formats, newer_fields, files, streaming, models, errors, busy],
    "translations": [translations],
}
# A single step by its name, for looking into it.
for step in STEPS.get(WHAT) or [globals()[WHAT]]:
    began = time.monotonic()
    step()
    print(f"{step.__name__}: {time.monotonic() - began:.1f} s", flush=True)
