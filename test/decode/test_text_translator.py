"""A cascade: the transcripts of a decoded set, translated as text by the LLM, with what both steps cost."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.bin import ctc_text, score, translate_text
from speechllama.decode.nbest import read_nbest
from speechllama.decode.risk import chrf_utility, order_by_risk
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.speech2text import Utterance
from speechllama.decode.text_translator import load_text_translator
from speechllama.files import read_json, read_table, write_json, write_table
from speechllama.report.results import collect_results

CONFIG = "transcribe_system: ctc\n"


def translate(recipe: Any, transcripts: Path, output: Path, *more: str) -> dict[str, str]:
    """Run the entry point; return the texts."""
    config = recipe.root / "cascade.yaml"
    config.write_text(CONFIG)
    words = ["--config", str(config), "--llm_dir", str(recipe.root / "llm"), "--transcript_dir", str(transcripts)]
    words += ["--data_dir", str(recipe.root / "test/dump"), "--output_dir", str(output), *recipe.device]
    translate_text.main([*words, "--beam_size", "3", "--nbest", "2", *more])
    return read_table(output / "text")


def test_a_text_is_translated_as_transformers_does_it(recipe: Any) -> None:
    config = SearchConfig(beam_size=3, nbest=1, max_tokens=6)
    translator = load_text_translator(str(recipe.root / "llm"), {}, "st", config, "cpu")
    texts = ["der hund", "la femme rot pan", "", "el pan"]
    utterances = [Utterance(2.0, "de")] * 4
    found = translator.translate(texts, utterances)
    assert found[2] == []  # nothing was said
    llm, prompt = translator.llm.model, translator.prompt
    for text, nbest in zip(texts, found, strict=True):
        if not text:
            continue
        around = prompt.render("de")
        ids = torch.tensor([[*around.prompt, *prompt.encode(text), *around.suffix]])
        expected = llm.generate(
            ids, num_beams=3, max_new_tokens=6, do_sample=False, length_penalty=1.0, early_stopping=False,
            eos_token_id=translator.llm.eos_token_id, pad_token_id=0, attention_mask=torch.ones_like(ids),
        )[0, ids.shape[1] :]  # fmt: skip
        assert nbest[0].text == prompt.decode(expected.tolist())
        assert translator.translate([text], utterances[:1])[0][0].tokens == nbest[0].tokens


def test_samples_are_an_utterances_own_and_chosen_by_risk(recipe: Any) -> None:
    search = SearchConfig(beam_size=8, nbest=8, num_samples=8, max_tokens=6)
    texts = ["der hund", "la femme rot pan", "el pan"]
    utterances = [Utterance(2.0, "de", name=name) for name in "abc"]
    drawn = load_text_translator(str(recipe.root / "llm"), {}, "st", search, "cpu")
    together = drawn.translate(texts, utterances)
    (alone,), (other,) = (drawn.translate(texts[1:2], utterances[row : row + 1]) for row in (1, 0))
    tokens = [sorted(entry.tokens for entry in nbest) for nbest in (together[1], alone, other)]
    assert tokens[0] == tokens[1] != tokens[2]  # another name draws other numbers
    chosen = load_text_translator(str(recipe.root / "llm"), {}, "st", replace(search, mbr="chrf"), "cpu")
    for nbest, ordered in zip(together, chosen.translate(texts, utterances), strict=True):
        assert ordered == order_by_risk(nbest, chosen.config, chrf_utility())


def test_a_cascade_of_ctc_is_a_decoded_set_with_its_cost(recipe: Any, tmp_path: Path) -> None:
    compressed = recipe.root / "test/compressed"
    for control in ("false", "true"):
        words = ["--ctc_dir", str(recipe.root / "ctc"), "--data_dir", str(compressed)]
        ctc_text.main([*words, "--output_dir", str(tmp_path / f"ctc_{control}"), "--control", control])
        texts = translate(recipe, tmp_path / f"ctc_{control}", tmp_path / f"cascade_{control}")
    transcripts = read_table(tmp_path / "ctc_true/text")
    assert texts.keys() == transcripts.keys()
    nbest = read_nbest(tmp_path / "cascade_true")
    assert nbest.best() == texts
    assert all(len(nbest.entries[utt]) == (2 if transcripts[utt] else 0) for utt in texts)
    own, exchanged = (read_json(tmp_path / f"cascade_{name}/decode.json") for name in ("false", "true"))
    assert own["search"]["beam_size"] == 3 and {"num_cut", "num_runaway"} <= own.keys()
    assert (own["control"], exchanged["control"], own["beam_size"]) == (False, True, 3)
    assert "transcript_seconds" not in own and own["decode_seconds"] >= 0 and own["audio_seconds"] > 1
    ctc = read_json(tmp_path / "ctc_false/decode.json")
    assert own["num_parameters"] > ctc["num_parameters"] and own["num_trainable"] == ctc["num_trainable"]
    words = ["--hyp_dir", str(tmp_path / "cascade_false"), "--control_dir", str(tmp_path / "cascade_true")]
    score.main([*words, "--data_dir", str(recipe.root / "test/dump")])
    report = read_json(tmp_path / "cascade_false/score.json")
    assert {"bleu", "control_bleu", "rtf"} <= report.keys() and report["transcripts"] == str(tmp_path / "ctc_false")


def test_transcripts_that_are_not_scored_themselves_are_not_missing_on_the_page(tmp_path: Path) -> None:
    for name in ("asr_ctc/decode_test_beam1", "asr_e6/decode_test_beam4", "st_cascade/decode_test_beam4"):
        (tmp_path / name).mkdir(parents=True)
    report = {"task": "st", "signature": "s", "transcripts": "exp/asr_ctc/decode_test_beam1"}
    write_json(tmp_path / "st_cascade/decode_test_beam4/score.json", report)
    missing = collect_results(tmp_path).missing
    assert "asr_e6/decode_test_beam4: no score.json" in missing
    assert not any("asr_ctc" in line for line in missing)


def test_the_time_of_both_steps_counts_and_an_llm_that_both_hold_counts_once(recipe: Any, tmp_path: Path) -> None:
    recipe.decode("e6", "compressed", "as_transcripts")
    folder = recipe.root / "as_transcripts"
    before = read_json(folder / "decode.json")
    write_json(folder / "decode.json", {**before, "decode_seconds": 100.0})
    translate(recipe, folder, tmp_path / "out")
    report = read_json(tmp_path / "out/decode.json")
    assert report["num_parameters"] == before["num_parameters"]
    assert report["transcript_seconds"] == 100.0 < report["decode_seconds"]
    assert report["rtf"] == pytest.approx(report["decode_seconds"] / report["audio_seconds"], abs=0.01)


def test_transcripts_of_another_set_are_refused(recipe: Any, tmp_path: Path) -> None:
    write_table(tmp_path / "text", {"other": "der hund"})
    write_json(tmp_path / "decode.json", {})
    with pytest.raises(ValueError, match="text: 6 utterances of .*dump have no transcript; decode them first"):
        translate(recipe, tmp_path, tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="none"):
        translate(recipe, tmp_path / "none", tmp_path / "out")
