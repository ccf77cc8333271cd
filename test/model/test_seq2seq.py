"""The encoder-decoder: its count at the paper's size, its loss against loops, padding, and stepping."""

from __future__ import annotations

import sys
from dataclasses import replace
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from speechllama.feature_shape import FeatureShape
from speechllama.model.seq2seq import Parts, Seq2Seq, Seq2SeqConfig
from speechllama.train.seq2seq import make_parts

FRAMES = torch.tensor([41, 22, 30])
TEXT = torch.tensor([[3, 3, 5, 1], [2, -1, -1, -1], [7, 4, -1, -1]])
LENGTHS = torch.tensor([4, 1, 2])


@pytest.fixture
def speech() -> torch.Tensor:
    """Three utterances; padding holds noise."""
    return torch.randn(3, 41, 10, generator=torch.Generator().manual_seed(1))


def test_the_papers_size_has_240_million_parameters() -> None:
    config = Seq2SeqConfig()
    with torch.device("meta"):
        network = Seq2Seq(config, 16001, make_parts(config, 16001))
    counts = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    layer = 4 * (768 * 768 + 768)  # one attention
    norm, ffn = 2 * 768, 2 * 768 * 3072 + 3072 + 768
    assert counts["encoder"] == 12 * (layer + ffn + 2 * norm) + norm
    vocabulary = 16002 * 768 + 16002 * 769
    assert counts["decoder"] == 12 * (2 * layer + ffn + 3 * norm) + norm + vocabulary
    assert sum(counts.values()) == pytest.approx(240e6, rel=0.01)


def test_attention_drops_out_whatever_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("espnet2.torch_utils.get_flash_attn_compatability.is_flash_attn_supported", lambda: True)
    monkeypatch.setitem(sys.modules, "flash_attn", ModuleType("flash_attn"))
    config = replace(Seq2SeqConfig(), num_encoder_layers=1, num_decoder_layers=1)
    parts = make_parts(config, 8)
    modules = [*parts.encoder.modules(), *parts.decoder.modules()]
    found = [module for module in modules if hasattr(module, "linear_q")]
    assert len(found) == 3 and all(isinstance(module.dropout, torch.nn.Dropout) for module in found)


def test_the_loss_is_that_of_a_loop_over_units(tiny_seq2seq: Any, speech: torch.Tensor) -> None:
    with torch.no_grad():
        result = tiny_seq2seq(speech, FRAMES, TEXT, LENGTHS)
        attention = ctc = 0.0
        hits = 0
        for row, length in enumerate(LENGTHS.tolist()):
            memory = tiny_seq2seq.encode(speech[row : row + 1, : FRAMES[row]], FRAMES[row : row + 1])
            units = TEXT[row, :length].tolist()
            for place, label in enumerate([*units, tiny_seq2seq.eos]):
                read = torch.tensor([[tiny_seq2seq.eos, *units[:place]]])
                logits, _ = tiny_seq2seq.decoder(memory.states, memory.lengths, read, torch.tensor([place + 1]))
                attention -= float(logits[0, -1].log_softmax(-1)[label])
                hits += int(logits[0, -1].argmax()) == label
            ctc += float(
                torch.nn.functional.ctc_loss(
                    memory.ctc_log_probs[0], torch.tensor(units), memory.lengths[0], torch.tensor(length),
                    reduction="sum",
                )
            )  # fmt: skip
    assert float(result.attention) == pytest.approx(attention / 3, abs=1e-4)
    assert float(result.ctc) == pytest.approx(ctc / 3, abs=1e-4)
    assert float(result.loss) == pytest.approx(0.3 * ctc / 3 + 0.7 * attention / 3, abs=1e-4)
    assert float(result.accuracy) == pytest.approx(hits / 10)


@pytest.mark.parametrize("positions", ["absolute", "relative"])
def test_padding_never_changes_an_utterance(tiny_seq2seq: Any, speech: torch.Tensor, positions: str) -> None:
    torch.manual_seed(1)
    config = replace(tiny_seq2seq.config, positions=positions)
    network = Seq2Seq(config, 8, make_parts(config, 8), FeatureShape(10)).eval()
    with torch.no_grad():
        together = network.encode(torch.cat((speech, torch.randn(3, 9, 10)), dim=1), FRAMES)
        for row, length in enumerate(FRAMES.tolist()):
            single = network.encode(speech[row : row + 1, :length], FRAMES[row : row + 1])
            frames = int(single.lengths[0])
            assert int(together.lengths[row]) == frames == (length + 3) // 4
            torch.testing.assert_close(together.states[row, :frames], single.states[0], atol=1e-5, rtol=0)
            torch.testing.assert_close(together.ctc_log_probs[row, :frames], single.ctc_log_probs[0], atol=1e-5, rtol=0)


def test_relative_positions_hear_an_order_and_no_place(tiny_seq2seq: Any) -> None:
    hidden = torch.randn(1, 6, tiny_seq2seq.config.dim, generator=torch.Generator().manual_seed(2))
    for positions, moves in (("absolute", True), ("relative", False)):
        torch.manual_seed(1)
        config = replace(tiny_seq2seq.config, positions=positions, num_encoder_layers=1)
        encoder = make_parts(config, 8).encoder.eval()
        with torch.no_grad():
            states = encoder(hidden, torch.tensor([6]))[0]
            # Later by six frames that no layer sees.
            mask = torch.tensor([[True] * 6 + [False] * 6])
            late = encoder(torch.cat((hidden, hidden), 1), torch.tensor([12]), masks=mask)[0][:, 6:]
            turned = encoder(hidden.flip(1), torch.tensor([6]))[0].flip(1)
        assert (late - states).abs().max() > 1e-3 if moves else torch.allclose(late, states, atol=1e-5)
        assert (turned - states).abs().max() > 1e-3


def test_every_parameter_learns_and_labels_are_smoothed_in_training_alone(
    tiny_seq2seq: Any, speech: torch.Tensor
) -> None:
    tiny_seq2seq.train()
    smoothed = tiny_seq2seq(speech, FRAMES, TEXT, LENGTHS)
    smoothed.loss.backward()
    tiny_seq2seq.eval()
    silent = [name for name, p in tiny_seq2seq.named_parameters() if p.grad is None or not p.grad.abs().sum()]
    tiny_seq2seq.zero_grad()
    assert [name for name in silent if "linear_k.bias" not in name] == []  # softmax is blind to a shift of all keys
    plain = tiny_seq2seq(speech, FRAMES, TEXT, LENGTHS)
    assert smoothed.attention.item() != pytest.approx(plain.attention.item())
    torch.testing.assert_close(smoothed.ctc, plain.ctc)


def test_impossible_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="dim 10 must be even and a multiple of num_heads 4"):
        Seq2SeqConfig(dim=10, num_heads=4)
    with pytest.raises(ValueError, match=r"ctc_weight 1.5 must lie between 0 and 1"):
        Seq2SeqConfig(ctc_weight=1.5)
    with pytest.raises(ValueError, match=r"positions 'learned' must be absolute or relative"):
        Seq2SeqConfig(positions="learned")
    with pytest.raises(ValueError, match=r"the statistics are of \(80,\) features, the network expects \(10,\)"):
        none = torch.nn.Identity()
        config = Seq2SeqConfig(conv_channels=1, dim=12)
        Seq2Seq(config, 3, Parts(none, none, none), FeatureShape(10)).set_normalization(
            *torch.from_numpy(np.ones((2, 80)))
        )
