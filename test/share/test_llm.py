"""An experiment's LLM leaves for peft and transformers, and gives the same logits there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from speechllama.bin import export
from speechllama.decode.experiment import load_experiment
from speechllama.llm.adapter_files import Base
from speechllama.llm.config import LLMConfig
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import position_ids, visible
from speechllama.share.llm import TrainedLLM, export_adapter, export_merged_llm
from test.llm.families import multimodal

TOKENS = torch.tensor([[1, 5, 9, 12, 7, 3, 88, 41]])


def score(llm: LLM) -> torch.Tensor:
    """Logits of a few tokens, in our network."""
    lengths, width = torch.full((len(TOKENS),), TOKENS.shape[1]), TOKENS.shape[1]
    with torch.no_grad():
        return llm(llm.embed(TOKENS), visible(lengths, width, 0, "causal"), position_ids(lengths, width, 0), width)


def score_there(model: Any) -> torch.Tensor:
    """Logits of the same tokens in a model of transformers or peft."""
    with torch.no_grad():
        logits: torch.Tensor = model.eval()(TOKENS).logits
    return logits


def load_there(folder: Path) -> Any:
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)


def make_experiment(recipe: Any, folder: Path, train: str = "lora", seed: int = 1, **lora: Any) -> Path:
    """E6 of the recipe with other adapters, whose weights moved away from their start."""
    from speechllama.model.build import build_speech_llama

    settings = yaml.safe_load((recipe.root / "e6/config.yaml").read_text())
    settings["llm_conf"] = {**settings["llm_conf"], "train": train, "lora": {"rank": 4, "alpha": 6.0, **lora}}
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    torch.manual_seed(seed)
    network = build_speech_llama(settings, "test")
    with torch.no_grad():
        for weight in network.llm.parameters():
            if weight.requires_grad:
                weight.add_(0.05 * torch.randn_like(weight))
    torch.save({f"network.{name}": tensor for name, tensor in network.state_dict().items()}, folder / "model.pth")
    return folder


KINDS: list[dict[str, Any]] = [
    {},
    {"use_rslora": True},
    {"use_dora": True},
    {"targets": "all-linear"},
    {"init_lora_weights": "pissa"},
    {"init_lora_weights": "pissa_niter_4", "use_rslora": True},
    {"init_lora_weights": "olora", "use_dora": True, "use_rslora": True, "targets": ["q_proj", "down_proj"]},
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_peft_loads_the_adapters_onto_the_original_llm(
    recipe: Any, tiny_llm: Path, tmp_path: Path, kind: dict[str, Any]
) -> None:
    from peft import PeftModel

    system = make_experiment(recipe, tmp_path / "e6", **kind)
    export.main(["--exp_dir", str(system), "--adapter", str(tmp_path / "adapter")])
    expected = score(load_experiment(system).network.llm)
    plain = load_there(tiny_llm)
    before = score_there(plain)
    found = score_there(PeftModel.from_pretrained(plain, str(tmp_path / "adapter")))
    torch.testing.assert_close(found, expected, atol=2e-4, rtol=2e-4)
    assert not torch.allclose(before, expected, atol=1e-2)
    assert sorted(path.name for path in (tmp_path / "adapter").iterdir()) == [
        "adapter_config.json",
        "adapter_model.safetensors",
    ]


def test_transformers_loads_the_merged_llm_with_its_tokenizer(recipe: Any, tmp_path: Path) -> None:
    from transformers import AutoTokenizer

    system = make_experiment(recipe, tmp_path / "e6", init_lora_weights="olora")
    export.main(["--exp_dir", str(system), "--merged_llm", str(tmp_path / "merged")])
    experiment = load_experiment(system)
    torch.testing.assert_close(
        score_there(load_there(tmp_path / "merged")), score(experiment.network.llm), atol=2e-4, rtol=2e-4
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert tokenizer.encode("The dog sleeps.") == experiment.prompt.tokenizer.encode("The dog sleeps.")
    export_merged_llm(system, tmp_path / "half", "bfloat16")
    assert json.loads((tmp_path / "half/config.json").read_text())["dtype"] == "bfloat16"
    assert (tmp_path / "half/model.safetensors").stat().st_size < (tmp_path / "merged/model.safetensors").stat().st_size


def test_a_fully_trained_llm_leaves_whole_and_has_no_adapters(recipe: Any, tmp_path: Path) -> None:
    system = make_experiment(recipe, tmp_path / "l", train="full")
    export_merged_llm(system, tmp_path / "merged")
    expected = score(load_experiment(system).network.llm)
    torch.testing.assert_close(score_there(load_there(tmp_path / "merged")), expected, atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="train: full: all weights were trained, and there are no adapters. Export"):
        export_adapter(system, tmp_path / "adapter")


def test_adapters_of_a_part_of_a_model_leave_only_within_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    multimodal("gemma3").save_pretrained(tmp_path / "gemma3")
    config = LLMConfig(str(tmp_path / "gemma3"), train="lora")
    trained = TrainedLLM(tmp_path, config, Base(config.path, None, ""), {})
    monkeypatch.setattr("speechllama.share.llm.read_trained_llm", lambda _: trained)
    with pytest.raises(ValueError, match="of the text part .gemma3_text. of a gemma3 model, in which peft would not"):
        export_adapter("exp", tmp_path / "adapter")


def test_what_cannot_leave_is_said_and_nothing_is_left_of_it(recipe: Any, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="e5/config.yaml: the LLM is frozen .*: it is .*tiny, unchanged"):
        export_adapter(recipe.root / "e5", tmp_path / "adapter")
    with pytest.raises(FileNotFoundError, match="no trained experiment there"):
        export_adapter(tmp_path / "nothing", tmp_path / "adapter")
    (tmp_path / "full").mkdir()
    (tmp_path / "full/file").touch()
    with pytest.raises(ValueError, match="full: exists and is not empty; give another directory, or remove it"):
        export_adapter(recipe.root / "e6", tmp_path / "full")
    assert [path.name for path in tmp_path.iterdir()] == ["full"]
