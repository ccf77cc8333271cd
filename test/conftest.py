"""What every test may ask for: the development data, a tiny LLaMA, and a recipe trained on noise."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from speechllama.registry import Registry
from test.fake_hub import FakeHub, serve_hub
from test.trained_recipe import SEQ2SEQ_SIZES, Recipe, train_recipe

# A shell starts background jobs with SIGINT ignored, and scripts cannot undo that; a handler of ours is not inherited.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup, too, would have its own way in the runs that tests start

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository."""
    return ROOT


@pytest.fixture(autouse=True)
def threads_stay() -> Iterator[None]:
    """The number of torch's threads is the same after a test: sums differ with it, and so do trained parameters."""
    before = torch.get_num_threads()
    yield
    assert torch.get_num_threads() == before, "the test, or what it imports, changes the number of threads"


@pytest.fixture
def add() -> Iterator[Callable[[Registry[Any], Any], Any]]:
    """Add a record to a registry, for the time of a test."""
    added: list[tuple[Registry[Any], str]] = []

    def add_record(registry: Registry[Any], record: Any) -> Any:
        added.append((registry, record.name))
        return registry.add(record)

    yield add_record
    for registry, name in added:
        registry.remove(name)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The development data (real clips, a trained LLaMA) next to the checkout."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("the development data (../shared/data) is not here")
    return path


@pytest.fixture(scope="session")
def tiny_llm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A LLaMA with random weights (2 layers, width 32) and its tokenizer, as save_pretrained writes them."""
    from speechllama.llm.scratch_llm import LlamaConfig, build_llama
    from speechllama.llm.text_lines import Line
    from speechllama.llm.text_llm import train_llm_tokenizer

    folder = tmp_path_factory.mktemp("llm") / "tiny"
    lines = [
        Line("Der Hund schläft heute.", "The dog sleeps today."),
        Line("La vieille femme boit.", "The old woman drinks."),
        Line("El niño come pan.", "The boy eats bread."),
    ]
    tokenizer = train_llm_tokenizer(lines, vocab_size=150)
    config = LlamaConfig(150, width=32, num_layers=2, num_heads=4, ffn_dim=64, tie_embeddings=True)
    torch.manual_seed(3)
    llm = build_llama(config, tokenizer)
    with torch.no_grad():
        # Sharper than at birth, so that beams differ by more than rounding.
        for parameter in llm.parameters():
            parameter.mul_(4.0 if parameter.dim() > 1 else 1.0)
    llm.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def seq2seq_sizes() -> dict[str, Any]:
    """Sizes of a tiny encoder-decoder."""
    return SEQ2SEQ_SIZES


@pytest.fixture(scope="session")
def tiny_seq2seq() -> Any:
    """An encoder-decoder of ESPnet's modules with random weights: 10 mel bins, 8 units, sharper than at birth."""
    from speechllama.config import from_mapping
    from speechllama.feature_shape import FeatureShape
    from speechllama.model.seq2seq import Seq2Seq, Seq2SeqConfig
    from speechllama.train.seq2seq import make_parts

    torch.manual_seed(3)
    config = from_mapping(Seq2SeqConfig, SEQ2SEQ_SIZES, "test")
    network = Seq2Seq(config, 8, make_parts(config, 8), FeatureShape(10)).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(2.0 if parameter.dim() > 1 else 1.0)
    return network


@pytest.fixture(scope="session")
def recipe(tmp_path_factory: pytest.TempPathFactory, tiny_llm: Path) -> Recipe:
    """A trained CTC encoder, its cache, E5 and E6 on it."""
    return train_recipe(tmp_path_factory.mktemp("recipe"), tiny_llm)


@pytest.fixture()
def make_data_dir(tmp_path: Path) -> Callable[..., Path]:
    """Make a data directory of noise: `num` utterances of two speakers."""
    from speechllama.data.data_dir import DataDir, write_data_dir

    def make(name: str = "data", num: int = 6) -> Path:
        path = tmp_path / name
        random = np.random.default_rng(1)
        tables: dict[str, dict[str, str]] = {
            table: {} for table in ("wav.scp", "text", "src_text", "utt2spk", "utt2lang", "utt2dur")
        }
        (tmp_path / "clips").mkdir(exist_ok=True)
        for index in range(num):
            speaker = f"fr_{index % 2}"
            utterance = f"{speaker}-clip{index:02d}"
            clip = tmp_path / "clips" / f"{utterance}.wav"
            samples = 8000 + 800 * index
            soundfile.write(clip, random.normal(0, 0.1, samples).astype(np.float32), 16000)
            values = (str(clip), "Hello there.", "Bonjour là.", speaker, "fr", f"{samples / 16000:.3f}")
            for table, value in zip(tables, values, strict=True):
                tables[table][utterance] = value
        write_data_dir(DataDir(path, tables), path)
        return path

    return make


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeHub]:
    """A hub on this machine, still empty."""
    with serve_hub(monkeypatch, tmp_path / "hub_cache") as running:
        yield running
