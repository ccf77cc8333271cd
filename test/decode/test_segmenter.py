"""Cutting at pauses: with a detector that hears loudness, and with silero-vad on speech."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from speechllama.constants import SAMPLE_RATE
from speechllama.data.audio import resample
from speechllama.decode import segmenter
from speechllama.decode.segmenter import FRAME_SECONDS, CutConfig, Piece, cut
from speechllama.decode.voice import Detector, energy, has_silero

TURNS = ((0.0, 1.0), (3.0, 1.0), (2.0, 1.0), (0.3, 0.0), (4.0, 1.0), (1.5, 0.0))  # seconds, and whether it is loud


def recording(turns: tuple[tuple[float, float], ...]) -> np.ndarray:
    """Noise where it is loud, a whisper of it elsewhere; no two samples are equal."""
    random = np.random.default_rng(0)
    parts = [random.normal(size=round(seconds * SAMPLE_RATE)) * (0.2 if loud else 1e-3) for seconds, loud in turns]
    return np.concatenate(parts).astype(np.float32)


def blocks_of(waveform: np.ndarray, size: int) -> list[np.ndarray]:
    return [waveform[start : start + size] for start in range(0, len(waveform), size)]


def hear_loudness() -> Detector:
    """What stands in for silero-vad: noise is speech."""
    return lambda frame: float(energy(frame) > 0.05)


@pytest.fixture
def by_loudness(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter, "silero_detector", hear_loudness)
    monkeypatch.setattr(segmenter, "has_silero", lambda: True)


def assert_times_are_those_of_the_samples(pieces: list[Piece], waveform: np.ndarray) -> None:
    for piece in pieces:
        start = round(piece.start * SAMPLE_RATE)
        np.testing.assert_array_equal(piece.waveform, waveform[start : start + len(piece.waveform)])
        assert piece.end == pytest.approx(piece.start + len(piece.waveform) / SAMPLE_RATE)
    assert all(one.end <= other.start + 1e-9 for one, other in itertools.pairwise(pieces))


@pytest.mark.parametrize("size", [160, 5000, 10**6])
def test_pieces_end_at_pauses_whatever_the_blocks_are(by_loudness: None, size: int) -> None:
    turns = ((1.0, 0.0), (3.0, 1.0), (0.3, 0.0), (2.0, 1.0), (1.0, 0.0), (4.0, 1.0), (1.5, 0.0))
    waveform = recording(turns)
    pieces = list(cut(blocks_of(waveform, size), CutConfig(max_seconds=8.0)))
    assert_times_are_those_of_the_samples(pieces, waveform)
    expected = [(0.8, 6.5), (7.1, 11.5)]  # 0.2 s more than the speech at each end; 0.3 s are no pause
    for piece, (start, end) in zip(pieces, expected, strict=True):
        assert piece.start == pytest.approx(start, abs=2 * FRAME_SECONDS)
        assert piece.end == pytest.approx(end, abs=2 * FRAME_SECONDS)


@pytest.mark.parametrize("segmentation", ["vad", "even"])
def test_speech_without_a_pause_is_cut_where_it_is_quietest_and_nothing_is_lost(
    by_loudness: None, segmentation: str
) -> None:
    turns = ((4.6, 1.0), (0.2, 0.0)) * 5
    waveform = recording(turns)
    config = CutConfig(max_seconds=5.0, segmentation=segmentation)  # type: ignore[arg-type]
    pieces = list(cut(blocks_of(waveform, 7000), config))
    assert_times_are_those_of_the_samples(pieces, waveform)
    assert len(pieces) == 5 and all(piece.end - piece.start <= 5.0 for piece in pieces)
    for one, other in itertools.pairwise(pieces):
        assert one.end == pytest.approx(other.start)
        assert one.end % 4.8 == pytest.approx(4.7, abs=0.1)  # inside the 0.2 s
    assert sum(len(piece.waveform) for piece in pieces) >= len(waveform) - SAMPLE_RATE * 0.2


def test_even_windows_keep_every_sample(by_loudness: None) -> None:
    waveform = recording(((21.3, 0.0),))
    pieces = list(cut(blocks_of(waveform, 4321), CutConfig(max_seconds=5.0, segmentation="even")))
    np.testing.assert_array_equal(np.concatenate([piece.waveform for piece in pieces]), waveform)
    assert all(4.0 <= piece.end - piece.start <= 5.0 for piece in pieces[:-1])


def test_a_recording_of_at_most_the_longest_piece_stays_whole_unless_it_is_live(by_loudness: None) -> None:
    waveform = recording(((2.0, 1.0), (1.0, 0.0), (2.0, 1.0)))
    (whole,) = cut(blocks_of(waveform, 3000), CutConfig(max_seconds=5.0))
    np.testing.assert_array_equal(whole.waveform, waveform)
    assert len(list(cut(blocks_of(waveform, 3000), CutConfig(max_seconds=5.0, keeps_short=False)))) == 2
    assert len(list(cut(blocks_of(waveform, 3000), CutConfig(max_seconds=4.9)))) == 2


def test_without_speech_there_is_no_piece_and_a_click_is_none(by_loudness: None) -> None:
    silence = recording(((30.0, 0.0),))
    assert list(cut(blocks_of(silence, 8000), CutConfig())) == []
    silence[100_000:100_400] = 0.5
    assert list(cut(blocks_of(silence, 8000), CutConfig())) == []
    assert list(cut([], CutConfig())) == []


@pytest.mark.parametrize(
    ("settings", "num_pieces"),
    [({}, 1), ({"checks_short": True}, 0), ({"checks_short": True, "segmentation": "even"}, 1)],
)
def test_a_short_recording_is_looked_for_speech_if_that_is_asked(
    by_loudness: None, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], num_pieces: int
) -> None:
    config = CutConfig(**settings)
    assert len(list(cut([recording(((3.0, 0.0),))], config))) == num_pieces
    assert len(list(cut([recording(((2.9, 0.0), (0.11, 1.0)))], config))) == 1  # also at its very end
    monkeypatch.setattr(segmenter, "has_silero", lambda: False)
    assert len(list(cut([recording(((3.0, 0.0),))], config))) == 1


def test_a_piece_comes_as_soon_as_its_pause_does_and_little_is_kept(by_loudness: None) -> None:
    waveform = recording(((2.0, 1.0), (1.0, 0.0)) * 4)
    given = 0

    def live() -> Iterator[np.ndarray]:
        nonlocal given
        for block in blocks_of(waveform, 1600):
            given += len(block)
            yield block

    for number, _ in enumerate(cut(live(), CutConfig(keeps_short=False))):
        assert given / SAMPLE_RATE == pytest.approx(3.0 * number + 2.5, abs=0.2)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"segmentation": "odd"}, "segmentation 'odd': expected vad or even"),
        ({"max_seconds": 0.5}, "max_seconds 0.5, min_pause 0.5, padding 0.2: expected"),
        ({"min_pause": 0.0}, "min_pause 0.0"),
    ],
)
def test_settings_that_cut_nothing_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CutConfig(**settings)  # type: ignore[arg-type]


def check_silero_finds(sentences: list[np.ndarray]) -> None:
    """Sentences with silence between them -> a piece each that holds most of it."""
    if not has_silero():  # no importorskip: importing it by itself takes threads from the process
        pytest.skip("needs silero-vad")
    silence = np.zeros(SAMPLE_RATE, np.float32)
    waveform = np.concatenate([part for sentence in sentences for part in (silence, sentence)])
    pieces = list(cut(blocks_of(waveform, 16000), CutConfig(keeps_short=False, min_pause=0.7)))
    assert_times_are_those_of_the_samples(pieces, waveform)
    assert len(pieces) == len(sentences)
    position = 0
    for piece, sentence in zip(pieces, sentences, strict=True):
        start = (position + SAMPLE_RATE) / SAMPLE_RATE
        position += SAMPLE_RATE + len(sentence)
        assert piece.start == pytest.approx(start, abs=0.5)
        assert piece.end == pytest.approx(position / SAMPLE_RATE, abs=0.8)


def test_silero_finds_synthetic_sentences() -> None:
    from speechllama.corpora.synthetic.espeak import synthesize

    texts = ("The old woman drinks a glass of water.", "The boy eats bread, and the dog sleeps.")
    sentences = []
    for text in texts:
        spoken, rate = synthesize(text, "en")
        sentences.append(resample(spoken, rate))
    check_silero_finds(sentences)


def test_silero_finds_real_sentences(shared_data: Path) -> None:
    clips = sorted((shared_data / "librispeech_sample").rglob("*.flac"), key=lambda path: path.stat().st_size)[:4]
    check_silero_finds([soundfile.read(clip, dtype="float32")[0] for clip in clips])
