"""The picture of one utterance as a file, from an experiment and from a packed model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechllama.bin import pack, plot
from speechllama.decode.speech2text import Speech2Text
from speechllama.faults import InputError
from speechllama.files import read_json
from speechllama.page.utterance import Part, align_speech, draw_utterance
from speechllama.text.tokenizer import CTCTokenizer
from test.trained_recipe import hidden


def test_a_packed_model_knows_the_texts_of_its_units(
    recipe: Any, tmp_path: Path, noise: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack.main(["--exp_dir", str(recipe.root / "e6"), "--output", str(tmp_path / "e6.zip"), "--include_llm", "true"])
    texts = CTCTokenizer(recipe.root / "bpe/bpe.model").texts
    monkeypatch.chdir(tmp_path)
    with hidden(recipe.root / "bpe"):
        plot.main(["--model", "e6.zip", "--audio", str(noise("a.wav")), "--output", "a.json", "--beam_size", "2"])
    record = read_json(tmp_path / "a.json")
    assert all(run["text"] == texts[run["unit"]] for run in record["runs"])
    assert record["num_feature_frames"] == 98 and len(record["units"]) == 25
    assert len(record["vectors"]) == sum(run["num_vectors"] for run in record["runs"])


def test_units_that_are_elsewhere_are_shown_by_their_numbers(
    recipe: Any, translator: Speech2Text, noise: Callable[..., Path], tmp_path: Path
) -> None:
    with hidden(recipe.root / "bpe"):
        path = draw_utterance(translator, Part(str(noise("a.wav"))), tmp_path / "a.svg")
        alignment = align_speech(translator, noise_waveform(noise))
    run = next(run for run in alignment.runs if not run.is_blank)
    assert run.text == "" and f">{run.unit}</text>" in path.read_text(encoding="utf-8")


def noise_waveform(noise: Callable[..., Path]) -> Any:
    from speechllama.data.audio import read_audio

    return read_audio(noise("a.wav"))


def test_a_part_of_a_recording_keeps_its_times(
    translator: Speech2Text, noise: Callable[..., Path], tmp_path: Path
) -> None:
    path = noise("a.wav", 4.0)
    svg = draw_utterance(translator, Part(str(path), 2.0, 3.0), tmp_path / "a.svg").read_text(encoding="utf-8")
    assert "1.00 s: 98 feature frames, 25 encoder frames," in svg
    assert ">2.0</text>" in svg and ">3.0</text>" in svg and ">1.0</text>" not in svg.split("log-mel bin")[0]
    with pytest.raises(InputError, match=r"a\.gif: a picture is written as"):
        draw_utterance(translator, Part(str(path)), tmp_path / "a.gif")
    with pytest.raises(InputError, match="a picture of 61.0 s could not be read: at most 60 s"):
        draw_utterance(translator, Part(str(noise("b.wav", 61.0))), tmp_path / "b.svg")


def test_options_of_the_two_kinds_of_pictures_are_not_mixed(capsys: pytest.CaptureFixture[str]) -> None:
    for words, message in (
        ([], "one of the arguments --model --exp_dir is required"),
        (["--model", "e6.zip", "--audio", "a.wav"], "--model needs --audio and --output"),
    ):
        with pytest.raises(SystemExit) as caught:
            plot.main(words)
        assert caught.value.code == 2 and message in capsys.readouterr().err
