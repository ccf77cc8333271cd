"""CTC's own text as a decoded set: what the compress stage wrote, and the text of another utterance as the control."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechllama.bin import ctc_text
from speechllama.data.data_dir import read_data_dir
from speechllama.decode.control import find_audio
from speechllama.files import read_json, read_table, write_table
from speechllama.report.decoded_set import DecodedSet, score_decoded_set
from test.trained_recipe import Recipe


def take(recipe: Recipe, data_dir: Path, output_dir: Path, control: str = "false") -> dict[str, str]:
    """Run the entry point; return the text."""
    words = ["--ctc_dir", str(recipe.root / "ctc"), "--data_dir", str(data_dir), "--output_dir", str(output_dir)]
    ctc_text.main([*words, "--control", control])
    return read_table(output_dir / "text")


def test_the_text_is_that_of_stage_compress_and_is_scored_as_any_other(recipe: Recipe, tmp_path: Path) -> None:
    compressed = recipe.root / "test/compressed"
    texts = read_table(compressed / "ctc_hyp")
    assert take(recipe, compressed, tmp_path / "own") == texts
    facts = read_json(tmp_path / "own/decode.json")
    assert facts["beam_size"] == 1 and facts["num_parameters"] == facts["num_trainable"] > 0
    assert "speechllama.bin.ctc_text --ctc_dir" in facts["command"]
    take(recipe, compressed, tmp_path / "control", "true")
    decoded = DecodedSet(tmp_path / "own", recipe.root / "test/dump", tmp_path / "control")
    report = score_decoded_set(decoded, "asr")
    assert report["num_utterances"] == len(texts) and {"wer_low", "control_wer", "num_trainable"} <= report.keys()


def test_the_control_has_the_text_of_the_utterance_whose_audio_other_systems_get(
    recipe: Recipe, tmp_path: Path
) -> None:
    compressed = recipe.root / "test/compressed"
    own = {utterance: utterance for utterance in read_table(compressed / "ctc_hyp")}  # each text is its own name
    data = read_data_dir(compressed)
    copy = tmp_path / "data"
    copy.mkdir()
    for name, table in data.tables.items():
        write_table(copy / name, own if name == "ctc_hyp" else table)
    audio = find_audio(data, control=True)
    other = {place: utterance for utterance, place in data.table("compressed.scp").items()}
    assert take(recipe, copy, tmp_path / "control", "true") == {
        utterance: other[place] for utterance, place in audio.places.items()
    }


def test_a_set_without_text_of_ctc_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no ctc_hyp there; run stage `compress` again"):
        take(recipe, recipe.root / "test/dump", tmp_path / "own")
