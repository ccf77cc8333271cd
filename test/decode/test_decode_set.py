"""Decoding of a set: resumed, with little memory, in parts, from cache or features, and its control."""

from __future__ import annotations

import json
import shutil
from typing import Any

import pytest
import torch
import yaml

from speechllama.bin import merge_decoded
from speechllama.data.subset import take_subset
from speechllama.decode import decode_set
from speechllama.decode.control import derange
from speechllama.decode.speech_llama2text import SpeechLlamaToText
from speechllama.files import read_json, read_table
from speechllama.model.audio import Compressed


def test_cache_features_and_batch_size_give_the_same_text(recipe: Any) -> None:
    cached = recipe.decode("e6", "compressed", "a")
    assert len(cached) == 6
    assert recipe.decode("e6", "dump", "b") == cached
    assert recipe.decode("e6", "compressed", "c", "--batch_size", "1") == cached
    report = read_json(recipe.root / "a/decode.json")
    assert report["num_utterances"] == 6
    assert report["num_trainable"] < report["num_parameters"]
    nbest = [json.loads(line) for line in (recipe.root / "a/nbest.jsonl").read_text().splitlines()[1:]]
    assert all(len(record["nbest"]) == 2 for record in nbest)


def read_nbest(recipe: Any, output: str) -> list[tuple[str, Any]]:
    """Utterances in the file's order, with their hypotheses and scores in every digit."""
    records = [json.loads(line) for line in (recipe.root / output / "nbest.jsonl").read_text().splitlines()[1:]]
    return [(record["utt"], record["nbest"]) for record in records]


@pytest.mark.parametrize("control", ["false", "true"])
def test_parallel_jobs_give_what_one_job_gives(recipe: Any, control: str) -> None:
    more = ["--batch_size", "2", "--control", control]
    whole = recipe.decode("e6", "dump", f"one_{control}", *more)
    output = recipe.root / f"three_{control}"
    for job in (3, 1, 2):
        with pytest.raises(FileNotFoundError):  # a single part is not yet a decoded set
            recipe.decode("e6", "dump", output.name, *more, "--num_jobs", "3", "--job", str(job))
    data = str(recipe.root / "test/dump")
    merge_decoded.main(["--data_dir", data, "--output_dir", str(output), "--num_jobs", "3", "--control", control])
    assert read_table(output / "text") == whole
    assert read_nbest(recipe, output.name) == read_nbest(recipe, f"one_{control}")
    reports = [read_json(recipe.root / name / "decode.json") for name in (f"one_{control}", output.name)]
    assert [report["num_jobs"] for report in reports] == [1, 3]
    same = ("num_utterances", "audio_seconds", "beam_size", "control", "device", "num_parameters")
    assert all(reports[0][key] == reports[1][key] for key in same)
    records = [json.loads(line) for line in (output / "nbest.jsonl").read_text().splitlines()[1:]]
    spent = sum(record["spent"] for record in records)
    assert reports[1]["rtf"] == pytest.approx(spent / reports[1]["audio_seconds"], abs=1e-4)
    assert [path.name for path in output.glob("nbest*")] == ["nbest.jsonl"]


def test_parts_that_are_missing_or_of_other_settings_are_not_merged(recipe: Any) -> None:
    output, more = recipe.root / "parts", ["--batch_size", "2", "--num_jobs", "2", "--job"]
    merge = ["--data_dir", str(recipe.root / "test/dump"), "--output_dir", str(output), "--num_jobs", "2"]
    with pytest.raises(FileNotFoundError):
        recipe.decode("e5", "dump", "parts", *more, "1")
    with pytest.raises(ValueError, match=r"parts: 1 of 2 parts are missing:\n  .*nbest\.2\.jsonl"):
        merge_decoded.main(merge)
    with pytest.raises(FileNotFoundError):
        recipe.decode("e5", "dump", "parts", *more, "2", "--length_penalty", "0.5")
    with pytest.raises(ValueError, match=r"decoded with other settings than .*nbest\.1\.jsonl.*\n  .*nbest\.2\.jsonl"):
        merge_decoded.main(merge)
    with pytest.raises(ValueError, match="there is no part 3 of 2"):
        recipe.decode("e5", "dump", "parts", *more, "3")


def test_decoding_resumes_after_the_utterances_it_has(recipe: Any, caplog: pytest.LogCaptureFixture) -> None:
    whole = recipe.decode("e5", "compressed", "d", "--batch_size", "2")
    lines = (recipe.root / "d/nbest.jsonl").read_text().splitlines(keepends=True)
    marked = lines[1].replace('"text": "', '"text": "KEPT ')
    (recipe.root / "d/nbest.jsonl").unlink()
    # Of two jobs' parts, one is truncated in its last line and damaged in another; a single job resumes after both.
    (recipe.root / "d/nbest.2.jsonl").write_text(lines[0] + marked + lines[2][:20] + "\n" + lines[3][:20])
    resumed = recipe.decode("e5", "compressed", "d", "--batch_size", "3")  # it changes no result
    kept = json.loads(lines[1])["utt"]
    assert resumed == {**whole, kept: f"KEPT {whole[kept]}".strip()}
    assert "nbest.2.jsonl:3: not an utterance as decoding writes it; it is decoded again" in caplog.text
    # a finished set is not decoded again
    (recipe.root / "d/nbest.jsonl").write_text((recipe.root / "d/nbest.jsonl").read_text().replace("KEPT", "STILL"))
    again = recipe.decode("e5", "compressed", "d")
    assert again == {**whole, kept: f"STILL {whole[kept]}".strip()}
    # other settings start anew
    assert "STILL" not in "".join(recipe.decode("e5", "compressed", "d", "--length_penalty", "0.9").values())
    assert "d: 6 utterances are decoded again, they had length_penalty 1.0, now 0.9" in caplog.text


def test_decoding_in_another_precision_starts_anew(recipe: Any, caplog: pytest.LogCaptureFixture) -> None:
    recipe.decode("e5", "compressed", "precision")
    lines = (recipe.root / "precision/nbest.jsonl").read_text().splitlines(keepends=True)
    (recipe.root / "precision/nbest.jsonl").unlink()
    half = "".join(lines[:4]).replace('"text": "', '"text": "KEPT ')
    (recipe.root / "precision/nbest.1.jsonl").write_text(half)
    # as on a GPU, where `auto` is bfloat16; the weights are the same file
    folder = shutil.copytree(recipe.root / "e5", recipe.root / "e5_bfloat16")
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    settings["llm_conf"] = {**settings["llm_conf"], "dtype": "bfloat16"}
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    assert "KEPT" not in "".join(recipe.decode("e5_bfloat16", "compressed", "precision").values())
    message = "precision: 3 utterances are decoded again, they had dtype float32, now bfloat16 and float32"
    assert message in caplog.text
    network = torch.nn.Linear(1, 1)  # as an encoder-decoder, without an LLM
    assert (decode_set.name_dtypes(network), decode_set.name_dtypes(network.half())) == ("float32", "float16")


def test_the_shortest_audio_gets_the_least_limit(recipe: Any) -> None:
    recipe.decode("e5", "compressed", "short", "--tokens_per_second", "0.001", "--min_tokens", "2")
    assert max(len(nbest["tokens"]) for _, found in read_nbest(recipe, "short") for nbest in found) == 2


@pytest.mark.parametrize("first_line", ["", "{", "[1]", '{"utt": "x"}'])
def test_a_damaged_first_line_costs_the_utterances_and_no_more(
    recipe: Any, caplog: pytest.LogCaptureFixture, first_line: str
) -> None:
    whole = recipe.decode("e5", "compressed", "damaged")
    lines = (recipe.root / "damaged/nbest.jsonl").read_text().splitlines(keepends=True)
    (recipe.root / "damaged/nbest.jsonl").unlink()
    (recipe.root / "damaged/nbest.1.jsonl").write_text(first_line + "\n" + "".join(lines[1:]))
    assert recipe.decode("e5", "compressed", "damaged") == whole
    assert "nbest.1.jsonl:1: not a line that decoding wrote; its 6 utterances are decoded again" in caplog.text


def test_memory_that_ends_halves_the_batch(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = recipe.decode("e5", "compressed", "e")
    original, sizes = SpeechLlamaToText.translate, []

    def small_memory(self: SpeechLlamaToText, audio: Compressed, *rest: object, **more: object) -> object:
        sizes.append(len(audio.lengths))
        if len(audio.lengths) > 2:
            raise torch.OutOfMemoryError("no memory")
        return original(self, audio, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(SpeechLlamaToText, "translate", small_memory)
    assert recipe.decode("e5", "compressed", "f") == whole
    assert sizes == [6, 3, 1, 2, 3, 1, 2]


def test_a_cpu_without_memory_halves_the_batch_too(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        torch.empty(10**15)

    monkeypatch.setattr(SpeechLlamaToText, "translate", no_memory)
    with pytest.raises(ValueError, match=r"utterance de_4-\d+ .* by itself does not fit into memory"):
        recipe.decode("e5", "compressed", "f2")


def test_a_cache_of_another_compressor_is_refused(recipe: Any) -> None:
    shutil.copytree(recipe.root / "test/compressed", recipe.root / "test/other")
    done = recipe.root / "test/other/compressed.1.done"
    done.write_text(done.read_text().replace("frame_average", "blank_removal"))
    with pytest.raises(ValueError, match="other: compressed by .*blank_removal.*, the model expects .*frame_average"):
        recipe.decode("e5", "other", "f3")


@pytest.mark.parametrize(
    ("texts", "num_equal"),
    [("xxyy", 0), ("xxxyyz", 0), ("xy", 0), ("xxxxy", 3), ("xxx", 3), ("x" * 40 + "y" * 30 + "z" * 10, 0)],
)
def test_no_utterance_keeps_its_own_audio_and_few_get_an_equal_text(
    texts: str, num_equal: int, caplog: pytest.LogCaptureFixture
) -> None:
    text = {f"u{index:02}": letter for index, letter in enumerate(texts)}
    other = derange(list(text), text)
    assert sorted(other.values()) == sorted(text)
    assert all(utt != partner for utt, partner in other.items())
    assert sum(text[utt] == text[partner] for utt, partner in other.items()) == num_equal  # the least there can be
    assert (f"control: {num_equal} of {len(text)} get audio of an equal text" in caplog.text) == (num_equal > 0)
    assert derange(list(text)[::-1], text) == other


def test_the_control_is_no_rotation_of_any_list() -> None:
    names = [f"u{index:02}" for index in range(50)]
    partners = list(derange(names, {}).values())
    shifts = {(names.index(partner) - index) % 50 for index, partner in enumerate(partners)}
    assert len(shifts) > 10


def test_a_single_utterance_has_no_control() -> None:
    with pytest.raises(ValueError, match="no control is possible: 1 utterances cannot exchange their audio"):
        derange(["a"], {})


def test_the_control_decodes_anothers_audio(recipe: Any) -> None:
    right = recipe.decode("e5", "dump", "g")
    wrong = recipe.decode("e5", "dump", "h", "--control", "true")
    mapping = derange(list(right), read_table(recipe.root / "test/dump/text"))
    assert all(wrong[utt] == right[mapping[utt]] for utt in right)


def test_a_subset_is_decoded_as_the_whole_set_is(recipe: Any) -> None:
    whole = recipe.decode("e6", "compressed", "whole_of_subset")
    for name in ("compressed", "dump"):
        part = recipe.root / "test" / f"{name}_subset3"
        assert take_subset(recipe.root / "test" / name, part, 3) == (3, 6)
    found = recipe.decode("e6", "compressed_subset3", "of_subset")
    assert found == {key: whole[key] for key in found} and len(found) == 3


def test_what_is_left_of_a_batch_is_decoded_in_that_batch(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe.decode("e5", "compressed", "cut", "--batch_size", "6")
    path = recipe.root / "cut/nbest.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.unlink()
    (recipe.root / "cut/nbest.1.jsonl").write_text("".join(lines[:4]) + lines[4][:30])
    sizes = []
    original = decode_set.decode_batch

    def decode_batch(translate: Any, data: Any, audio: Any, batch: Any, *more: Any) -> Any:
        sizes.append(len(batch))
        return original(translate, data, audio, batch, *more)

    monkeypatch.setattr(decode_set, "decode_batch", decode_batch)
    recipe.decode("e5", "compressed", "cut", "--batch_size", "6")
    assert sizes == [6]
    whole, resumed = (
        [json.loads(line)["nbest"] for line in text[1:]] for text in (lines, path.read_text().splitlines(keepends=True))
    )
    assert resumed == whole  # scores to the last bit, too
