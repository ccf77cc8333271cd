"""What the page says of a recording: HTML, which grows segment by segment.

file -> waveform (S,), within the limits -> segments -> text, n-best, picture of each
"""

from __future__ import annotations

import base64
import html
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import numpy as np

from speechllama.constants import SAMPLE_RATE
from speechllama.data.audio import read_audio, read_duration
from speechllama.decode.long import LongConfig, Segment
from speechllama.decode.rescored2text import RescoredToText
from speechllama.decode.speech2text import Speech2Text
from speechllama.decode.speech_llama2text import SpeechLlamaToText
from speechllama.decode.subtitles import render
from speechllama.decode.systems import change_search
from speechllama.faults import InputError
from speechllama.figure import figure_bytes
from speechllama.page.utterance import align_speech
from speechllama.report.pictures.alignment import describe_shortening, draw_alignment
from speechllama.text.prompt import LANGUAGE, TARGET, PromptText
from speechllama.text.targets import TARGETS

MAX_HYPOTHESES = 5  # shown of a segment
MAX_PICTURES = 8  # of a long recording: each is some 300 kB, and takes longer to draw than its segment to translate
DOWNLOADS = {"text": "txt", "srt": "srt", "vtt": "vtt"}  # formats of the links -> suffixes


@dataclass(frozen=True)
class Limits:
    """What the page accepts: size of a file in megabytes (10^6 bytes), and its duration in seconds."""

    max_megabytes: float = 20.0
    max_seconds: float = 600.0

    def __post_init__(self) -> None:
        if self.max_megabytes <= 0 or self.max_seconds <= 0:
            raise InputError(
                f"max_megabytes {self.max_megabytes:g} and max_seconds {self.max_seconds:g} must be above 0"
            )


@dataclass(frozen=True)
class Controls:
    """What the user of the page chooses: languages of speech and text, where the model asks for them, and the beam."""

    language: str = ""
    target: str = ""
    beam_size: int = 4


def read_upload(path: str | Path, limits: Limits) -> np.ndarray:
    """Read an uploaded recording, if it is within the limits.

    Returns:
        The waveform (S,), 16 kHz.

    Raises:
        ValueError: It is too large or too long, or cannot be read.
    """
    megabytes = Path(path).stat().st_size / 1e6
    if megabytes > limits.max_megabytes:
        raise InputError(f"{path}: {megabytes:.1f} MB, this page takes at most {limits.max_megabytes:g} MB")
    check_duration(path, read_duration(path), limits)  # before all of it is in memory
    waveform = read_audio(path)
    check_duration(path, len(waveform) / SAMPLE_RATE, limits)
    return waveform


def check_duration(path: str | Path, seconds: float, limits: Limits) -> None:
    """Refuse what is too long."""
    if seconds > limits.max_seconds:
        raise InputError(
            f"{path}: {seconds:.0f} s, this page takes at most {limits.max_seconds:g} s; "
            "python3 -m speechllama.bin.translate takes recordings of any length"
        )


def prompt_of(translator: Speech2Text) -> PromptText | None:
    """The prompt that a system puts around the speech; None if it has none."""
    if isinstance(translator, SpeechLlamaToText):
        return translator.experiment.prompt
    if isinstance(translator, RescoredToText) and translator.rescoring.scorer.prompted:
        return translator.rescoring.scorer.prompt
    return None


def prompt_languages(translator: Speech2Text) -> Mapping[str, str]:
    """Name the source languages that a system's prompt depends on, by their codes; none if it names no language."""
    prompt = prompt_of(translator)
    if prompt is None:
        return {}
    if LANGUAGE in prompt.template:
        named: dict[str, str] = {}  # each name once: of codes with one name, the one that the settings know
        for code in (*prompt.by_language, *prompt.language_names, *TARGETS):
            named.setdefault(prompt.name(code) or code, code)
        return {code: name for name, code in named.items()}
    return {code: prompt.name(code) or code for code in prompt.by_language}


def prompt_targets(translator: Speech2Text) -> Mapping[str, str]:
    """Name the languages among which a system can be asked to write one; none if it has learned to write one only."""
    prompt = translator.experiment.prompt if isinstance(translator, SpeechLlamaToText) else None
    if prompt is None or len(prompt.targets) < 2 or TARGET not in prompt.template:
        return {}
    own_first = sorted(prompt.targets, key=lambda code: code != prompt.target.name)
    return {code: prompt.name(code) for code in own_first}


def answer(
    translator: Speech2Text, waveform: np.ndarray, controls: Controls, cutting: LongConfig | None = None
) -> Iterator[str]:
    """Translate a recording and show what became of it.

    Args:
        translator: The system; its search gets the beam of the controls.
        waveform: The recording (S,), 16 kHz.
        controls: What the user chose.
        cutting: How a long recording is cut.

    Yields:
        The HTML so far: after each segment its text, at the end the pictures, and links to texts and subtitles.
    """
    nbest = min(controls.beam_size, MAX_HYPOTHESES)
    translator.config = change_search(translator.config, {"beam_size": controls.beam_size, "nbest": nbest})
    seconds, shown, segments = len(waveform) / SAMPLE_RATE, "", []
    for segment in translator.long(waveform, cutting or LongConfig(), controls.language, target=controls.target):
        segments.append(segment)
        shown += show_segment(segment, seconds)
        yield f'{shown}<p class="progress">{clock(segment.end)} of {clock(seconds)}</p>'
    heard = [segment for segment in segments if segment.nbest]
    if not heard:
        return
    yield f'{shown}<p class="progress">drawing</p>'
    drawn = {id(segment): show_picture(translator, waveform, segment) for segment in heard[:MAX_PICTURES]}
    shown = "".join(show_segment(segment, seconds, drawn.get(id(segment), "")) for segment in segments)
    if len(heard) > MAX_PICTURES:
        shown += f"<p>Pictures are drawn of the first {MAX_PICTURES} segments; python3 -m speechllama.bin.plot "
        shown += "draws any part of a recording.</p>"
    yield shown + show_downloads(segments)


def show_segment(segment: Segment, seconds: float, picture: str = "") -> str:
    """Write a segment as HTML: times, text, hypotheses with scores, picture.

    Args:
        segment: The segment.
        seconds: Duration of the recording; what is of all of it has no times, and is not folded.
        picture: The picture as HTML, where there is one.
    """
    is_whole = segment.end - segment.start >= seconds - 0.01
    times = "" if is_whole else f'<p class="times">{clock(segment.start)} to {clock(segment.end)}</p>'
    if not segment.nbest:
        return f'<section class="segment">{times}<p class="nothing">Nothing was heard.</p></section>'
    cut = '<p class="cut">The text was cut at the limit of tokens.</p>' if segment.is_cut else ""
    rows = "".join(
        f"<tr><td>{place}</td><td>{escape(entry.text)}</td><td>{entry.score:.3f}</td></tr>"
        for place, entry in enumerate(segment.nbest, 1)
    )
    is_open = " open" if is_whole else ""
    return (
        f'<section class="segment">{times}<p class="text">{escape(segment.text)}</p>{cut}'
        f'<details{is_open}><summary>Hypotheses and scores</summary><table class="nbest"><thead><tr><th></th>'
        f"<th>text</th><th>score</th></tr></thead><tbody>{rows}</tbody></table></details>"
        + (f"<details{is_open}><summary>From sound to vectors</summary>{picture}</details>" if picture else "")
        + "</section>"
    )


def show_picture(translator: Speech2Text, waveform: np.ndarray, segment: Segment) -> str:
    """Draw a segment, as an image inside HTML."""
    samples = waveform[round(segment.start * SAMPLE_RATE) : round(segment.end * SAMPLE_RATE)]
    alignment = align_speech(translator, samples)
    figure = draw_alignment(alignment, segment.text, segment.start)
    data = base64.b64encode(figure_bytes(figure)).decode("ascii")
    words = escape(describe_shortening(alignment))
    return f'<div class="picture"><img alt="{words}" src="data:image/svg+xml;base64,{data}"></div>'


def show_downloads(segments: Sequence[Segment]) -> str:
    """Write links that hold the text and the subtitles themselves, so that the server keeps nothing."""
    links = []
    for kind, suffix in DOWNLOADS.items():
        content = f"data:text/plain;charset=utf-8,{quote(render(segments, kind))}"
        links.append(f'<a download="speech.{suffix}" href="{content}">{suffix}</a>')
    return f'<p class="downloads">Save as {", ".join(links)}</p>'


def show_error(message: str) -> str:
    """Write a message in place of a result."""
    return f'<p class="error" role="alert">{escape(message)}</p>'


def escape(text: str) -> str:
    """Write a text so that neither HTML nor gradio's templates (`${x}`, `{{x}}`) read anything into it."""
    return html.escape(text).replace("$", "&#36;").replace("{", "&#123;").replace("`", "&#96;")


def clock(seconds: float) -> str:
    """Write seconds as 1:02."""
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"
