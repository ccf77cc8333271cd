"""What the server reads of an experiment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from speechllama.bin import pack
from speechllama.decode.segmenter import CutConfig
from speechllama.serve.recording import load_model
from test.seq2seq_recipe import train_b1, tune_b2


@pytest.mark.parametrize("system", ["b1", "b2_b1"])
def test_the_encoder_decoder_is_served_too_also_packed_and_rescored(
    recipe: Any, seq2seq_sizes: dict[str, Any], tmp_path: Path, system: str
) -> None:
    train_b1(recipe, seq2seq_sizes)
    tune_b2(recipe, "b1", weights=[0.5], length_norms=[0.0])
    archive = tmp_path / "packed.zip"
    pack.main(["--exp_dir", str(recipe.root / system), "--output", str(archive), "--include_llm", "true"])
    for path in (recipe.root / system, archive):
        model = load_model(str(path), "cpu", {"beam_size": 2}, CutConfig(segmentation="even"))
        assert (model.endpoints, model.language_name("transcriptions", "de")) == (("transcriptions",), "german")
        assert model.translator.config.beam_size == 2


def test_a_language_that_the_prompt_cannot_name_is_refused(recipe: Any) -> None:
    translator: Any = load_model(str(recipe.root / "e6"), "cpu", {}, CutConfig(segmentation="even")).translator
    translator.check_language("")
    prompt = translator.experiment.prompt
    prompt.template = "From {language}: {audio}"
    prompt._rendered.clear()
    translator.check_language("de")
    with pytest.raises(ValueError, match="needs a language: unknown language ''"):
        translator.check_language("")
