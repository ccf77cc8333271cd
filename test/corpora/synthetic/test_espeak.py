"""Speech synthesis: the same bytes always, and clear refusals."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest

from speechllama.corpora.mini.plan import VOICES
from speechllama.corpora.synthetic.espeak import list_variants, synthesize

SENTENCES = {
    "de": "Der alte Mann kauft ein Buch.",
    "fr": "La fille mange une pomme.",
    "es": "¿Compra él la casa?",
}


def digest(lang: str, variant: str) -> str:
    """A fingerprint of one utterance."""
    return hashlib.md5(synthesize(SENTENCES[lang], lang, variant)[0].tobytes()).hexdigest()


def test_the_waveform_is_speech_of_a_plausible_length_and_level() -> None:
    waveform, rate = synthesize(SENTENCES["de"], "de")
    assert rate == 22050 and waveform.dtype == np.float32
    assert 1.0 < len(waveform) / rate < 4.0
    assert 0.1 < np.abs(waveform).max() <= 1.0


def test_bytes_do_not_depend_on_what_was_said_before() -> None:
    todo = [("de", "m3"), ("fr", "f2"), ("es", "Andy"), ("fr", "m3")]
    forward = {item: digest(*item) for item in todo}
    assert forward == {item: digest(*item) for item in reversed(todo)}
    assert len(set(forward.values())) == len(todo)


def test_every_voice_of_the_corpus_exists_speaks_and_repeats_itself() -> None:
    voices = " ".join(VOICES).split()
    assert len(voices) == len(set(voices)) >= 40
    assert set(voices) <= set(list_variants())
    first = [digest("es", voice) for voice in voices]
    assert first == [digest("es", voice) for voice in voices]
    assert len(set(first)) == len(voices)


def test_faster_is_shorter() -> None:
    slow, fast = (synthesize(SENTENCES["fr"], "fr", "m3", speed)[0] for speed in (140, 200))
    assert len(fast) < 0.9 * len(slow)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("", "de"), "nothing to say in ''"),
        (("?!", "de"), "nothing to say"),
        (("Hallo.", "xx"), "no voice 'xx'"),
        (("Hallo.", "de", "nobody"), "no variant 'nobody'"),
        (("Hallo.", "de", "m3", 9), "speed_wpm is 9"),
        (("Hallo.", "de", "m3", 170, 100), "pitch is 100"),
    ],
)
def test_what_cannot_be_said_is_refused(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        synthesize(*arguments)
    assert synthesize("Hallo.", "de")[1] == 22050  # nothing is left of a refusal
