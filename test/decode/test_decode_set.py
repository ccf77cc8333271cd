"""Decoding of a set: resumed, with little memory, in parts, from cache or features, and its control."""

from __future__ import annotations

import json
import shutil
from typing import Any

import numpy as np
import pytest
import torch

from speechllama.decode.control import derange
from speechllama.decode.speech2text import Speech2Text
from speechllama.files import read_json, read_table


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


def test_decoding_goes_on_behind_the_utterances_it_has(recipe: Any) -> None:
    whole = recipe.decode("e5", "compressed", "d", "--batch_size", "2")
    lines = (recipe.root / "d/nbest.jsonl").read_text().splitlines(keepends=True)
    marked = lines[1].replace('"text": "', '"text": "KEPT ')
    (recipe.root / "d/nbest.jsonl.part").write_text(lines[0] + marked + lines[2][:20])
    resumed = recipe.decode("e5", "compressed", "d", "--batch_size", "2")
    kept = json.loads(lines[1])["utt"]
    assert resumed == {**whole, kept: f"KEPT {whole[kept]}".strip()}
    # a finished set is not decoded again
    (recipe.root / "d/nbest.jsonl").write_text((recipe.root / "d/nbest.jsonl").read_text().replace("KEPT", "STILL"))
    again = recipe.decode("e5", "compressed", "d", "--batch_size", "2")
    assert again == {**whole, kept: f"STILL {whole[kept]}".strip()}
    # other settings start anew
    (recipe.root / "d/nbest.jsonl.part").write_text(lines[0] + marked)
    assert "KEPT" not in "".join(recipe.decode("e5", "compressed", "d", "--batch_size", "3").values())


def test_memory_that_ends_halves_the_batch(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = recipe.decode("e5", "compressed", "e")
    original, sizes = Speech2Text.translate, []

    def small_memory(self: Speech2Text, audio: list[np.ndarray], *rest: object, **more: object) -> object:
        sizes.append(len(audio))
        if len(audio) > 2:
            raise torch.OutOfMemoryError("no memory")
        return original(self, audio, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(Speech2Text, "translate", small_memory)
    assert recipe.decode("e5", "compressed", "f") == whole
    assert sizes == [6, 3, 1, 2, 3, 1, 2]


def test_a_cpu_without_memory_halves_the_batch_too(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_memory(*_: object, **__: object) -> None:
        torch.empty(10**15)

    monkeypatch.setattr(Speech2Text, "translate", no_memory)
    with pytest.raises(ValueError, match=r"utterance de_4-\d+ .* alone does not fit into memory"):
        recipe.decode("e5", "compressed", "f2")


def test_a_cache_of_another_compressor_is_refused(recipe: Any) -> None:
    shutil.copytree(recipe.root / "test/compressed", recipe.root / "test/other")
    done = recipe.root / "test/other/compressed.1.done"
    done.write_text(done.read_text().replace("frame_average", "blank_removal"))
    with pytest.raises(ValueError, match="other: compressed by .*blank_removal.*, the model expects .*frame_average"):
        recipe.decode("e5", "other", "f3")


def test_the_control_gives_everyone_anothers_audio_of_another_text(recipe: Any) -> None:
    texts = {"a": "x", "b": "x", "c": "y", "d": "y"}
    other = derange(list(texts), texts)
    assert sorted(other.values()) == sorted(texts)
    assert all(texts[utt] != texts[partner] for utt, partner in other.items())
    with pytest.raises(ValueError, match="no control is possible: 1 utterances"):
        derange(["a"], texts)
    right = recipe.decode("e5", "dump", "g")
    wrong = recipe.decode("e5", "dump", "h", "--control", "true")
    mapping = derange(list(right), read_table(recipe.root / "test/dump/text"))
    assert all(wrong[utt] == right[mapping[utt]] for utt in right)
