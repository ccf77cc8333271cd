"""The registry of compressors: what plans read of a record agrees with what its module does; one from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from speechllama.model.audio import Encoded, Features
from speechllama.model.compressors import COMPRESSORS, Compressor
from speechllama.registry import choose
from test.model.conftest import build, compressor, make_batch
from test.toys import Every, EverySettings


def make_encoded() -> Encoded:
    """Three utterances, with CTC logits."""
    generator = torch.Generator().manual_seed(0)
    lengths = torch.tensor([40, 9, 17])
    return Encoded(torch.randn(3, 40, 6, generator=generator), torch.randn(3, 40, 5, generator=generator), lengths)


@pytest.mark.parametrize("name", COMPRESSORS)
def test_a_record_says_what_its_module_does(name: str) -> None:
    record, encoded = COMPRESSORS[name], make_encoded()
    compressed = compressor(name, **({"num_clusters": 4} if name == "units" else {})).build(6)(encoded)
    assert compressed.vectors.dim() == (2 if name == "units" else 3)
    assert compressed.vectors.is_floating_point() == (name != "units")
    if record.frames_per_vector is not None:
        assert compressed.lengths.tolist() == [-(-int(each) // record.frames_per_vector) for each in encoded.lengths]
    assert record.is_cached <= record.needs_trained_encoder  # only what never changes can be written once


@pytest.mark.parametrize(
    ("name", "conf", "label"),
    [
        ("frame_average", {}, ""),
        ("frame_average", {"drop_blank_runs": True, "max_compressed_length": 30}, "_no_blanks_max30"),
        ("blank_removal", {"max_compressed_length": None}, ""),
        ("units", {"num_clusters": 500}, "500"),
        ("posteriors", {"keep_states": True, "temperature": 0.5}, "32_states"),
    ],
)
def test_settings_name_their_directory(name: str, conf: dict[str, object], label: str) -> None:
    assert choose(COMPRESSORS, name, conf, "test").settings.label() == label


def test_a_compressor_from_outside_needs_one_record(add: Callable[..., Compressor], tiny_llm: Path) -> None:
    toy = Compressor("every", EverySettings, lambda settings, dim: Every(settings.step), "nothing", is_cached=False)
    every = add(COMPRESSORS, toy)
    network = build(tiny_llm, freeze_encoder=False, compressor=compressor("every", step=4))
    batch, text, lengths = make_batch()
    assert isinstance(batch.audio, Features)
    assert network.compress(batch.audio).lengths.tolist() == [4, 2, 3]  # 50, 23, 37 features; 13, 6, 10 frames
    loss = network(batch, text, lengths).loss
    loss.backward()
    assert loss.isfinite()
    assert network.config.compressor.settings.label() == "_step4"
    with pytest.raises(ValueError, match="compressor 'every' is there already; choose another name"):
        COMPRESSORS.add(every)
