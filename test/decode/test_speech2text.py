"""Every system of the table from its folder or its zip: one recording, a batch, a long one."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from speechllama.bin import decode, pack, rescore
from speechllama.constants import SAMPLE_RATE
from speechllama.decode import segmenter
from speechllama.decode.joint_search import JointSearchConfig
from speechllama.decode.long import LongConfig
from speechllama.decode.rescored2text import RescoredToText
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.seq2seq2text import Seq2SeqToText
from speechllama.decode.speech2text import Speech2Text, Utterance
from speechllama.decode.speech_llama2text import SpeechLlamaToText
from speechllama.decode.systems import find_rescoring, tuned_beam
from speechllama.decode.voice import energy
from speechllama.files import read_table
from test.decode.fake_system import FakeToText
from test.seq2seq_recipe import train_b1, tune_b2
from test.trained_recipe import hidden

KINDS = {"e6": SpeechLlamaToText, "b1": Seq2SeqToText, "b2_b1": RescoredToText, "b2_e5": RescoredToText}
DECODED = {"e6": "e6", "b1": "b1", "b2_b1": "b1", "b2_e5": "e5"}  # system -> what decoding reads


@pytest.fixture(scope="module")
def systems(recipe: Any, seq2seq_sizes: dict[str, Any]) -> Path:
    """The folder with B1 and two rescoring systems, besides E5 and E6."""
    train_b1(recipe, seq2seq_sizes)
    for base in ("b1", "e5"):
        tune_b2(recipe, base, weights=[1000.0], length_norms=[0.0])
        path = recipe.root / f"b2_{base}/rescoring_beam3.json"
        tuned = json.loads(path.read_text())
        path.write_text(json.dumps({**tuned, "weight": 1000.0}))  # on noise, tuning may find 0 as good
    return Path(recipe.root)


def noise(seconds: float, seed: int = 0) -> np.ndarray:
    """A recording."""
    samples: np.ndarray = np.random.default_rng(seed).normal(size=round(seconds * SAMPLE_RATE)) * 0.1
    return samples.astype(np.float32)


def decode_test(systems: Path, system: str, *more: str) -> Path:
    """Decode the test set with a system as stages decode and rescore do -> the decoded set."""
    base, data = DECODED[system], str(systems / "test/dump")
    own = systems / base / "decode_test_beam3"
    words = ["--exp_dir", str(systems / base), "--data_dir", data, "--output_dir", str(own)]
    decode.main([*words, "--beam_size", "3", "--nbest", "3", *more])
    if base == system:
        return own
    chosen = systems / system / "decode_test_beam3"
    words = ["--settings", str(systems / system / "rescoring_beam3.json"), "--decode_dir", str(own)]
    rescore.main([*words, "--data_dir", data, "--output_dir", str(chosen)])
    return chosen


@pytest.mark.parametrize("system", KINDS)
def test_every_system_translates_alone_in_a_batch_and_at_length(systems: Path, system: str) -> None:
    translate = Speech2Text.from_pretrained(systems / system)
    assert isinstance(translate, KINDS[system])
    recordings = [noise(1.0, 1), noise(0.7, 2), np.zeros(SAMPLE_RATE, np.float32)]
    together = translate.batch(recordings)
    assert [len(nbest) for nbest in together] == [1, 1, 0]
    for recording, nbest in zip(recordings, together, strict=True):
        assert [entry.tokens for entry in translate(recording)] == [entry.tokens for entry in nbest]
    segments = list(translate.long(noise(5.3), LongConfig(max_seconds=2.0, segmentation="even")))
    assert segments[0].start == 0.0 and segments[-1].end == pytest.approx(5.3)
    assert [one.end for one in segments[:-1]] == [other.start for other in segments[1:]]
    assert len(segments) >= 3 and any(segment.text for segment in segments)


@pytest.mark.parametrize("system", KINDS)
def test_a_packed_system_writes_elsewhere_what_was_decoded(systems: Path, system: str, tmp_path: Path) -> None:
    more = ["--length_penalty", "0.8"] + (["--ctc_weight", "0.4"] if DECODED[system] == "b1" else [])
    texts = read_table(decode_test(systems, system, *more) / "text")
    archive = tmp_path / "packed.zip"
    pack.main(["--exp_dir", str(systems / system), "--output", str(archive), "--include_llm", "true"])
    from speechllama.data.ark import read_matrix
    from speechllama.model.audio import Features

    features = {utt: read_matrix(place) for utt, place in read_table(systems / "test/dump/feats.scp").items()}
    durations = {utt: float(text) for utt, text in read_table(systems / "test/dump/utt2dur").items()}
    with hidden(systems / "llm"), hidden(systems / "bpe"), hidden(systems / "ctc"), hidden(systems / DECODED[system]):
        translate = Speech2Text.from_pretrained(archive)
        assert isinstance(translate, KINDS[system])
        assert (translate.config.beam_size, translate.config.nbest, translate.config.length_penalty) == (3, 1, 0.8)
        for utt, matrix in features.items():
            nbest = translate.translate(Features.pad([matrix]), [Utterance(durations[utt], "de")])[0]
            assert [entry.text for entry in nbest] == [texts[utt]]
    if DECODED[system] == "b1":
        assert isinstance(translate.config, JointSearchConfig) and translate.config.ctc_weight == 0.4


def test_a_packed_model_keeps_the_search_of_the_set_that_is_named(systems: Path, tmp_path: Path) -> None:
    for name, beam in (("decode_one_beam2", "2"), ("decode_two_beam4", "4")):
        words = ["--exp_dir", str(systems / "e5"), "--data_dir", str(systems / "test/dump")]
        decode.main([*words, "--output_dir", str(systems / "e5" / name), "--beam_size", beam, "--max_tokens", "30"])
    for named, beam_size in (([], 4), (["--decode_dir", str(systems / "e5/decode_one_beam2")], 2)):
        pack.main(["--exp_dir", str(systems / "e5"), "--output", str(tmp_path / "e5.zip"), *named])
        assert Speech2Text.from_pretrained(tmp_path / "e5.zip").config == SearchConfig(beam_size, max_tokens=30)
        given = SearchConfig(beam_size=1)
        assert Speech2Text.from_pretrained(tmp_path / "e5.zip", config=given).config is given
        shutil.rmtree(tmp_path / "e5.unpacked")
    with pytest.raises(FileNotFoundError, match=r"nothing/nbest\.jsonl: no n-best hypotheses; decode this set first"):
        pack.main(["--exp_dir", str(systems / "e5"), "--output", str(tmp_path / "x.zip"), "--decode_dir", "nothing"])


def test_rescoring_chooses_among_the_whole_beam_and_can_give_all_of_it(systems: Path) -> None:
    config = SearchConfig(beam_size=3, nbest=3)
    own = Speech2Text.from_pretrained(systems / "b1", config=config)
    chosen = Speech2Text.from_pretrained(systems / "b2_b1", config=config)
    best = Speech2Text.from_pretrained(systems / "b2_b1")
    before, after = own(noise(1.0)), chosen(noise(1.0))
    assert sorted(entry.text for entry in before) == sorted(entry.text for entry in after)
    assert best(noise(1.0)) == after[:1]
    scores = [entry.score for entry in after]
    assert scores == sorted(scores, reverse=True) and scores != [entry.score for entry in before]


def test_a_weight_tuned_on_a_part_of_dev_is_the_last_choice(tmp_path: Path) -> None:
    whole, part = (tmp_path / f"rescoring_beam4{end}.json" for end in ("", "_subset20"))
    part.write_text("{}")
    assert find_rescoring(tmp_path, SearchConfig(beam_size=4)) == part and tuned_beam(part) == 4
    whole.write_text("{}")
    os.utime(whole, (1, 1))
    assert find_rescoring(tmp_path) == find_rescoring(tmp_path, SearchConfig(beam_size=4)) == whole


def test_a_system_without_a_prompt_cannot_be_told_what_to_write(systems: Path) -> None:
    for name in ("b1", "b2_b1"):
        translate = Speech2Text.from_pretrained(systems / name)
        translate.check_language("de")
        with pytest.raises(ValueError, match="b1: an encoder-decoder has no prompt .* leave .* 'fr', out"):
            translate.check_language("de", "fr")


def test_a_rescoring_system_is_decoded_by_its_own_stage(systems: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="b2_b1: a rescoring system; decode the system that it rescores"):
        decode.main(["--exp_dir", str(systems / "b2_b1"), "--data_dir", "x", "--output_dir", str(tmp_path)])
    (tmp_path / "rescoring_beam4.json").write_text('{"weight": 1.0}')
    with pytest.raises(ValueError, match=r"rescoring_beam4\.json: no length_norm, llm_dir, .*run stage `decode`"):
        Speech2Text.from_pretrained(tmp_path)


def test_a_folder_without_a_system_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"config\.yaml: no trained experiment there"):
        Speech2Text.from_pretrained(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no\.zip: no such packed model"):
        Speech2Text.from_pretrained(tmp_path / "no.zip")


@pytest.mark.parametrize("system", ["e6", "b1"])
def test_what_ctc_finds_blank_everywhere_is_not_translated(systems: Path, system: str) -> None:
    translate = Speech2Text.from_pretrained(systems / system)
    head = translate.network.encoder.head if system == "e6" else translate.network.ctc.ctc_lo
    assert len(translate.batch([noise(1.0)])[0]) == 1
    with torch.no_grad():
        head.bias[0] += 1000.0
    assert translate.batch([noise(1.0), noise(0.6, 2)]) == [[], []]
    (segment,) = translate.long(noise(1.0))
    assert (segment.text, segment.nbest, segment.is_cut) == ("", [], False)


def test_a_text_at_its_limit_is_marked_in_text_and_files(systems: Path) -> None:
    folder = systems / "e5/cut_set"
    words = ["--exp_dir", str(systems / "e5"), "--data_dir", str(systems / "test/dump"), "--output_dir", str(folder)]
    decode.main([*words, "--max_tokens", "1", "--beam_size", "1"])
    translate = Speech2Text.from_pretrained(systems / "e5", config=SearchConfig(beam_size=1, max_tokens=1))
    assert translate(noise(1.0))[0].is_cut
    records = [json.loads(line) for line in (folder / "nbest.jsonl").read_text().splitlines()[1:]]
    num_cut = sum(record["nbest"][0].get("is_cut", False) for record in records)
    assert num_cut == json.loads((folder / "decode.json").read_text())["num_cut"] > 0


def test_memory_that_ends_halves_the_batch_and_names_what_does_not_fit_by_itself() -> None:
    translate = FakeToText(too_long=1.5, error=torch.OutOfMemoryError("no memory"))
    assert len(translate.batch([noise(1.0)] * 3)) == 3
    with pytest.raises(ValueError, match=r"2\.0 s of audio do not fit into memory by themselves"):
        translate.batch([noise(1.0), noise(2.0)])
    assert translate.batches == [[1.0] * 3, [1.0, 2.0], [1.0], [2.0]]


def test_a_recording_that_fails_is_named_alone_and_at_length(tmp_path: Path) -> None:
    for seconds, system, message in (
        (0.01, FakeToText(), "too short for a frame"),
        (2.0, FakeToText(too_long=1.0, error=torch.OutOfMemoryError("no memory")), "do not fit into memory"),
    ):
        soundfile.write(tmp_path / "x.wav", noise(seconds), SAMPLE_RATE)
        with pytest.raises(ValueError, match=rf"x\.wav: .*{message}"):
            system(tmp_path / "x.wav")
        with pytest.raises(ValueError, match=rf"x\.wav: .*{message}"):
            list(system.long(str(tmp_path / "x.wav")))
        with pytest.raises(ValueError, match=message):
            list(system.long(noise(seconds)))


def test_long_takes_a_file_a_waveform_of_any_rate_or_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segmenter, "silero_detector", lambda: lambda frame: float(energy(frame) > 0.02))
    waveform = np.concatenate([noise(4.0), np.zeros(SAMPLE_RATE, np.float32), noise(3.0, 1)])
    soundfile.write(tmp_path / "x.wav", waveform, SAMPLE_RATE, subtype="FLOAT")
    translate, config = FakeToText(), LongConfig(max_seconds=6.0)
    expected = list(translate.long(tmp_path / "x.wav", config))
    assert [round(segment.end, 1) for segment in expected] == [4.2, 8.0]
    assert list(translate.long(waveform, config)) == expected
    assert list(translate.long(np.array_split(waveform, 50), config)) == expected
    slow = list(translate.long(waveform[::2], config, rate=SAMPLE_RATE // 2))
    assert [segment.end for segment in slow] == pytest.approx([segment.end for segment in expected], abs=0.1)
    assert len(translate.batches) == 4  # two segments in each


def test_a_packed_llm_that_both_parts_of_b2_have_is_in_the_zip_once(systems: Path, tmp_path: Path) -> None:
    pack.main(["--exp_dir", str(systems / "b2_e5"), "--output", str(tmp_path / "b2.zip"), "--include_llm", "true"])
    with zipfile.ZipFile(tmp_path / "b2.zip") as archive:
        assert len([name for name in archive.namelist() if name.endswith("llm/tiny/model.safetensors")]) == 1
    assert isinstance(Speech2Text.from_pretrained(tmp_path / "b2.zip"), RescoredToText)


@pytest.mark.parametrize("seconds", [13.5, 20.0])
def test_a_text_without_an_end_is_as_long_as_its_recording_allows_and_no_200_tokens(
    recipe: Any, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    translate = Speech2Text.from_pretrained(recipe.root / "e5", config=SearchConfig(beam_size=2))
    monkeypatch.setattr(translate.network.llm, "eos_token_id", -5)  # no token ends a text
    (best, *_) = translate(noise(seconds))
    assert best.is_cut and len(best.tokens) == int(15 * seconds) > 200
