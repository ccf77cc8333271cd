"""Answers in OpenAI's formats: segments with times and texts -> json, text, srt, vtt or verbose_json."""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.responses import JSONResponse, PlainTextResponse, Response

from speechllama.decode.long import Segment
from speechllama.decode.subtitles import render

# Formats -> media types.
FORMATS = {
    "json": "application/json",
    "text": "text/plain",
    "srt": "application/x-subrip",
    "verbose_json": "application/json",
    "vtt": "text/vtt",
}
SEEKS_PER_SECOND = 100  # OpenAI counts `seek` in frames of 10 ms
CUT = {"X-Is-Cut": "true"}  # header of an answer with a text that ended at the limit of tokens; not OpenAI's


@dataclass(frozen=True)
class About:
    """What `verbose_json` says besides the segments.

    Attributes:
        task: "translate" or "transcribe".
        language: Name of the language of a translation, or of the source of a transcript as far as the client gave it.
        duration: Seconds of the recording.
    """

    task: str
    language: str
    duration: float


def answer(segments: Sequence[Segment], response_format: str, about: About) -> Response:
    """Write the texts of a recording.

    Args:
        segments: In the order of time; those in which nothing was heard have no text, and are left out.
        response_format: A name in FORMATS.
        about: What else `verbose_json` says.
    """
    heard = [segment for segment in segments if segment.text]
    text = " ".join(segment.text for segment in heard)
    headers = CUT if any(segment.is_cut for segment in heard) else None
    if response_format == "json":
        return JSONResponse({"text": text}, headers=headers)
    if response_format == "verbose_json":
        described = [describe(index, segment) for index, segment in enumerate(heard)]
        whole = {"task": about.task, "language": about.language, "duration": round(about.duration, 3), "text": text}
        return JSONResponse({**whole, "segments": described}, headers=headers)
    content = f"{text}\n" if response_format == "text" else render(heard, response_format)
    return PlainTextResponse(content, headers=headers, media_type=FORMATS[response_format])


def describe(index: int, segment: Segment) -> dict[str, Any]:
    """Write a segment as OpenAI's API does.

    `avg_logprob` is the score of the search: with a length penalty of 1, the log-probability per token. Nothing here
    measures `no_speech_prob`: it is null, and stretches without speech are no segments. `is_cut` is ours.
    """
    best = segment.nbest[0]
    data = best.text.encode()
    return {
        "id": index,
        "seek": round(segment.start * SEEKS_PER_SECOND),
        "start": round(segment.start, 3),
        "end": round(segment.end, 3),
        "text": best.text,
        "tokens": list(best.tokens),
        "temperature": 0.0,
        "avg_logprob": best.score,
        "compression_ratio": len(data) / len(zlib.compress(data)),
        "no_speech_prob": None,
        "is_cut": segment.is_cut,
    }
