"""Documents of segments: expected text by kind."""

from __future__ import annotations

import json

import pytest

from speechllama.decode.long import Segment
from speechllama.decode.speech2text import Translation
from speechllama.decode.subtitles import FORMATS, Writer, clock, file_ending, render

SEGMENTS = [
    Segment(0.0, 2.5, [Translation("The dog  sleeps -->\tnow.", [1], -0.5), Translation("A dog.", [2], -0.75)]),
    Segment(2.5, 4.0, []),
    Segment(3599.9996, 3661.25, [Translation("Brot für alle", [3], -1.0, is_cut=True)]),
]
EXPECTED = {
    "tsv": (
        "start\tend\ttext\n0.000\t2.500\tThe dog sleeps --> now.\n2.500\t4.000\t\n3600.000\t3661.250\tBrot für alle\n"
    ),
    "srt": (
        "1\n00:00:00,000 --> 00:00:02,500\nThe dog sleeps -> now.\n\n"
        "2\n01:00:00,000 --> 01:01:01,250\nBrot für alle\n\n"
    ),
    "vtt": (
        "WEBVTT\n\n00:00:00.000 --> 00:00:02.500\nThe dog sleeps -> now.\n\n"
        "01:00:00.000 --> 01:01:01.250\nBrot für alle\n\n"
    ),
    "text": "The dog sleeps --> now.\t-0.5000\nA dog.\t-0.7500\nBrot für alle\n",
}


@pytest.mark.parametrize("kind", EXPECTED)
def test_a_document_is_what_its_format_asks(kind: str) -> None:
    assert render(SEGMENTS, kind) == EXPECTED[kind]


def test_json_is_a_document_or_a_line_for_each_segment() -> None:
    document = json.loads(render(SEGMENTS, "json"))
    lines = [json.loads(line) for line in render(SEGMENTS, "jsonl").splitlines()]
    assert document["segments"] == lines
    assert document["text"] == "The dog  sleeps -->\tnow. Brot für alle"
    assert [line["text"] for line in lines][1:] == ["", "Brot für alle"]
    assert [line["is_cut"] for line in lines] == [False, False, True]
    assert [line["score"] for line in lines] == [-0.5, None, -1.0]
    assert [entry["text"] for entry in lines[0]["nbest"]][1] == "A dog." and "nbest" not in lines[2]


@pytest.mark.parametrize("kind", FORMATS)
def test_a_recording_without_speech_is_an_empty_document(kind: str) -> None:
    text = render([Segment(0.0, 3.0, [])], kind)
    assert {"text": "", "srt": "", "vtt": "WEBVTT\n\n"}.get(kind, text) == text
    if kind in ("json", "jsonl"):
        assert json.loads(text)["text"] == ""
    if kind == "tsv":
        assert text.splitlines()[1] == "0.000\t3.000\t"


def test_what_is_written_comes_at_once_with_its_recordings_name() -> None:
    parts: list[str] = []
    writer = Writer("tsv", parts.append, "a.wav")
    assert parts == ["file\tstart\tend\ttext\n"]
    writer.write(SEGMENTS[2])
    assert parts[1] == "a.wav\t3600.000\t3661.250\tBrot für alle\n"
    Writer("tsv", parts.append, "b.wav", has_header=False)
    assert len(parts) == 2


@pytest.mark.parametrize(
    ("seconds", "words"), [(0.0, "00:00:00.000"), (59.9996, "00:01:00.000"), (360000.5, "100:00:00.500")]
)
def test_a_clock_rounds_to_milliseconds(seconds: float, words: str) -> None:
    assert clock(seconds, ".") == words


def test_the_ending_of_a_text_is_txt() -> None:
    assert [file_ending(kind) for kind in ("text", "srt")] == ["txt", "srt"]
