"""What every test may ask for: the development data beside the checkout, if it is there."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest
import torch

# A shell starts background jobs with SIGINT ignored, and scripts cannot undo that; a handler of ours is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data (real clips, a trained LLaMA) beside the checkout."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the development data (../shared/data) is not here")
    return path


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA with random weights (2 layers, width 32) and its tokenizer, as save_pretrained writes them."""
    from speechllama.tasks.text_llm import Line, TextLLMConfig, build_llama, train_llm_tokenizer

    folder = tmp_path_factory.mktemp("llm") / "tiny"
    lines = [
        Line("Der Hund schläft heute.", "The dog sleeps today."),
        Line("La vieille femme boit.", "The old woman drinks."),
        Line("El niño come pan.", "The boy eats bread."),
    ]
    tokenizer = train_llm_tokenizer(lines, vocab_size=150)
    config = TextLLMConfig(vocab_size=150, width=32, num_layers=2, num_heads=4, ffn_dim=64, seed=3)
    llm = build_llama(config, tokenizer)
    with torch.no_grad():
        # Sharper than at birth, so that beams differ by more than rounding.
        for parameter in llm.parameters():
            parameter.mul_(4.0 if parameter.dim() > 1 else 1.0)
    llm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder
