"""Penalties, samples and minimum Bayes risk through stage decode, of every kind of system."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechllama.bin import decode, merge_decoded, pack, rescore
from speechllama.decode import nbest as nbest_files
from speechllama.decode.risk import chrf_utility, order_by_risk
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.seq2seq2text import Seq2SeqToText
from speechllama.decode.speech2text import Speech2Text, Translation
from speechllama.decode.speech_llama2text import SpeechLlamaToText
from speechllama.decode.systems import change_search
from speechllama.files import read_json, read_table
from speechllama.report.results import collect_results, format_results
from test.seq2seq_recipe import train_b1, tune_b2

SAMPLES = ["--num_samples", "5", "--temperature", "1.3", "--top_p", "0.95", "--batch_size", "2"]
LLM_SYSTEM, SEQ2SEQ = "e6", "b1"


@pytest.fixture(scope="module")
def systems(recipe: Any, seq2seq_sizes: dict[str, Any]) -> Path:
    """The folder with B1 and B2, besides E5 and E6."""
    train_b1(recipe, seq2seq_sizes)
    tune_b2(recipe)
    return Path(recipe.root)


def decode_test(systems: Path, system: str, output: Path, *more: str) -> list[dict[str, Any]]:
    """Decode the test set from features -> its records."""
    words = ["--exp_dir", str(systems / system), "--data_dir", str(systems / "test/dump"), "--output_dir", str(output)]
    decode.main([*words, "--beam_size", "3", "--nbest", "3", *more])
    return read_records(output)


def read_records(output: Path) -> list[dict[str, Any]]:
    """Utterances of a merged set, without times; none of one that is not merged."""
    path = output / "nbest.jsonl"
    lines = path.read_text().splitlines()[1:] if path.is_file() else []
    return [{key: value for key, value in json.loads(line).items() if key != "spent"} for line in lines]


def texts_of(records: list[dict[str, Any]]) -> dict[str, list[list[int]]]:
    return {record["utt"]: [entry["tokens"] for entry in record["nbest"]] for record in records}


def repeats(tokens: list[int], size: int) -> bool:
    ngrams = [tuple(tokens[place : place + size]) for place in range(len(tokens) - size + 1)]
    return len({*ngrams}) < len(ngrams)


@pytest.mark.parametrize("system", [LLM_SYSTEM, SEQ2SEQ])
@pytest.mark.parametrize("beam", ["1", "3"])
def test_no_ngram_comes_twice_in_any_hypothesis(systems: Path, system: str, beam: str, tmp_path: Path) -> None:
    more = ["--beam_size", beam, "--nbest", beam, "--length_penalty", "3"]
    plain = decode_test(systems, system, tmp_path / "plain", *more)
    records = decode_test(systems, system, tmp_path / "out", *more, "--no_repeat_ngram_size", "1")
    assert any(repeats(tokens, 1) for found in texts_of(plain).values() for tokens in found)
    assert not any(repeats(tokens, 1) for found in texts_of(records).values() for tokens in found)
    recorded = read_json(tmp_path / "out/decode.json")["search"]
    assert (recorded["no_repeat_ngram_size"], recorded["repetition_penalty"], recorded["mbr"]) == (1, 1.0, "none")


@pytest.mark.parametrize("system", [LLM_SYSTEM, SEQ2SEQ])
def test_samples_depend_neither_on_batches_nor_on_jobs_nor_on_a_stop(
    systems: Path, system: str, tmp_path: Path
) -> None:
    whole = decode_test(systems, system, tmp_path / "whole", *SAMPLES)
    assert [len(record["nbest"]) for record in whole] == [3] * 6
    for record in whole:
        scores = [entry["score"] for entry in record["nbest"]]
        assert scores == sorted(scores, reverse=True)
    for size in ("1", "6"):
        other = decode_test(systems, system, tmp_path / f"by_{size}", *SAMPLES, "--batch_size", size)
        assert texts_of(other) == texts_of(whole)
    parts = ["--num_jobs", "2", "--job"]
    decode_test(systems, system, tmp_path / "parts", *SAMPLES, *parts, "1")
    # The second job stops after its first utterance.
    decode_test(systems, system, tmp_path / "parts", *SAMPLES, *parts, "2")
    path = tmp_path / "parts/nbest.2.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:2]))
    decode_test(systems, system, tmp_path / "parts", *SAMPLES, *parts, "2")
    words = ["--data_dir", str(systems / "test/dump"), "--output_dir", str(tmp_path / "parts")]
    merge_decoded.main([*words, "--num_jobs", "2", "--control", "false"])
    assert read_records(tmp_path / "parts") == whole
    seeded = decode_test(systems, system, tmp_path / "seeded", *SAMPLES, "--sample_seed", "2")
    assert texts_of(seeded) != texts_of(whole)


def test_a_recording_gets_the_same_samples_wherever_it_stands(systems: Path) -> None:
    numbers = np.random.default_rng(3)
    one, other = (numbers.normal(size=16000).astype(np.float32) * 0.1 for _ in range(2))
    for system in (LLM_SYSTEM, SEQ2SEQ):
        translate = Speech2Text.from_pretrained(systems / system, config=SearchConfig(nbest=3, num_samples=3))
        alone = [entry.tokens for entry in translate(one)]
        assert [entry.tokens for entry in translate.batch([other, one])[1]] == alone
        assert [entry.tokens for entry in translate.batch([one, one])[1]] == alone


@pytest.mark.parametrize("system", [LLM_SYSTEM, SEQ2SEQ])
@pytest.mark.parametrize("more", [[], ["--num_samples", "6"]])
@pytest.mark.parametrize("weights", ["uniform", "posterior"])
def test_the_text_with_the_least_risk_is_written(
    systems: Path, system: str, more: list[str], weights: Any, tmp_path: Path
) -> None:
    number = "6" if more else "3"
    candidates = decode_test(systems, system, tmp_path / "all", *more, "--beam_size", number, "--nbest", number)
    words = [*more, "--mbr", "chrf", "--mbr_weights", weights, "--nbest", "2"]
    records = decode_test(systems, system, tmp_path / "mbr", *words)
    config = SearchConfig(num_samples=int(number) if more else 0, mbr="chrf", mbr_weights=weights)
    best = read_table(tmp_path / "mbr/text")
    for record, candidate in zip(records, candidates, strict=True):
        nbest = [Translation(**entry) for entry in candidate["nbest"]]
        expected = order_by_risk(nbest, config, chrf_utility())[:2]
        found = record["nbest"]
        assert [entry["text"] for entry in found] == [entry.text for entry in expected]
        assert [entry["utility"] for entry in found] == pytest.approx([entry.utility for entry in expected])
        assert [entry["score"] for entry in found] == pytest.approx([entry.score for entry in expected], abs=1e-4)
        assert best.get(record["utt"], "") == found[0]["text"]
    assert len(nbest_files.read_nbest(tmp_path / "mbr").entries) == 6  # the order by utility is no fault


def test_bleu_is_a_utility_where_the_language_is_known(systems: Path, tmp_path: Path) -> None:
    records = decode_test(systems, LLM_SYSTEM, tmp_path / "bleu", "--mbr", "bleu")
    assert all(0 <= record["nbest"][0]["utility"] <= 100 for record in records)
    with pytest.raises(ValueError, match="b1: an encoder-decoder does not know in which language it writes"):
        decode_test(systems, SEQ2SEQ, tmp_path / "b1", "--mbr", "bleu")
    translate = Speech2Text.from_pretrained(systems / SEQ2SEQ)
    with pytest.raises(ValueError, match="take mbr chrf"):
        translate.config = change_search(translate.config, {"mbr": "bleu"})


def test_rescoring_takes_samples_but_nothing_that_is_chosen_already(systems: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="b1: a rescoring system chooses by the LLM's score.* leave out mbr chrf"):
        Speech2Text.from_pretrained(systems / "b2_b1", config=SearchConfig(mbr="chrf"))
    translate = Speech2Text.from_pretrained(systems / "b2_b1", config=SearchConfig(nbest=5, num_samples=5))
    wave = np.random.default_rng(1).normal(size=16000).astype(np.float32) * 0.1
    assert len(translate(wave)) == 5
    decode_test(systems, SEQ2SEQ, tmp_path / "b1", "--mbr", "chrf")
    words = ["--settings", str(systems / "b2_b1/rescoring_beam3.json"), "--decode_dir", str(tmp_path / "b1")]
    with pytest.raises(ValueError, match=r"chosen by minimum Bayes risk \(mbr chrf\).* without mbr"):
        rescore.main([*words, "--data_dir", str(systems / "test/dump"), "--output_dir", str(tmp_path / "b2")])


@pytest.mark.parametrize("system", [LLM_SYSTEM, SEQ2SEQ])
def test_a_packed_model_keeps_its_search(systems: Path, system: str, tmp_path: Path) -> None:
    words = [*SAMPLES[:4], "--sample_seed", "5", "--mbr", "chrf", "--no_repeat_ngram_size", "3"]
    decode_test(systems, system, systems / system / "decode_test_beam3", *words)
    decoded = ["--decode_dir", str(systems / system / "decode_test_beam3")]
    pack.main(["--exp_dir", str(systems / system), "--output", str(tmp_path / "packed.zip"), *decoded])
    config = Speech2Text.from_pretrained(tmp_path / "packed.zip").config
    expected = {"num_samples": 5, "temperature": 1.3, "sample_seed": 5, "mbr": "chrf", "no_repeat_ngram_size": 3}
    assert {name: getattr(config, name) for name in expected} == expected
    shutil.rmtree(systems / system / "decode_test_beam3")


@pytest.mark.parametrize(("system", "kind"), [(LLM_SYSTEM, SpeechLlamaToText), (SEQ2SEQ, Seq2SeqToText)])
def test_texts_that_repeat_themselves_to_the_limit_are_counted_and_shown(
    systems: Path,
    system: str,
    kind: type[Speech2Text],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    endings = iter([([1, 2, 3] * 5, True), ([1, 2, 3] * 5, False), ([1, 2, 3, 4], True), *[([1], False)] * 3])

    def write(self: Any, audio: Any, utterances: Any) -> list[list[Translation]]:
        return [[Translation("x", tokens, -1.0, cut)] for _, (tokens, cut) in zip(utterances, endings, strict=False)]

    monkeypatch.setattr(kind, "translate", write)
    output = tmp_path / f"exp/st_{system}/decode_test_beam3"
    decode_test(systems, system, output)
    report = read_json(output / "decode.json")
    assert (report["num_cut"], report["num_runaway"]) == (2, 1)
    words = (
        "2 of 6 texts were cut at the limit of tokens, and 1 of these repeat themselves to the end "
        "(--decode_options '--no_repeat_ngram_size 4' forbids it)"
    )
    assert words in caplog.text
    scores = {"task": "st", "set": "test", "bleu": 1.0, "chrf": 1.0, "signature": "a", "chrf_signature": "b"}
    (output / "score.json").write_text(json.dumps({**report, **scores, "per_language": {}}))
    assert f"* st_{system}/decode_test_beam3: {words}\n" in format_results(collect_results(tmp_path / "exp"))
