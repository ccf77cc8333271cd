"""The cache of compressed features: what the network computes, by the right units."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.bin import ctc_compress
from speechllama.data.ark import read_matrix
from speechllama.data.data_dir import read_data_dir
from speechllama.data.tokenizer import train_tokenizer
from speechllama.decode.experiment import load_experiment


def test_the_cache_holds_what_the_network_computes(recipe: Any) -> None:
    network = load_experiment(recipe.root / "e5").network
    dump, cache = (read_data_dir(recipe.root / "test" / kind) for kind in ("dump", "compressed"))

    for utterance, place in dump.table("feats.scp").items():
        features = torch.from_numpy(read_matrix(place).copy())[None]
        with torch.no_grad():
            expected = network.compress(features, torch.tensor([features.shape[1]])).vectors[0]
        cached = torch.from_numpy(read_matrix(cache.table("compressed.scp")[utterance]).copy())
        torch.testing.assert_close(cached, expected, atol=1e-4, rtol=1e-4)


def test_units_of_another_tokenizer_are_refused(recipe: Any, tmp_path: Path) -> None:
    train_tokenizer(["der hund", "la femme"], tmp_path, 20)
    with pytest.raises(ValueError, match=r"bpe.model: \d+ CTC units, but .*ctc was trained with another number"):
        ctc_compress.main(
            ["--ctc_dir", str(recipe.root / "ctc"), "--data_dir", str(recipe.root / "test/dump")]
            + ["--output_dir", str(tmp_path), "--tokenizer", str(tmp_path / "bpe.model")]
        )
