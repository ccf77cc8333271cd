"""The network as a whole: loss against a loop, padding, gradients only where intended."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.llm.config import LLMConfig
from speechllama.model.audio import Compressed, Features
from speechllama.model.speech_llama import Batch, SpeechLlama
from test.model.conftest import ENCODER, SIZES, build, compressor, encoder, make_batch

EOS = 2


def build_d(tiny_llm: Path, mask: Any) -> SpeechLlama:
    """System D: convolutions, then the tiny LLaMA's shape with random weights."""
    none = dataclasses.replace(SIZES, num_layers=0)
    return build(
        tiny_llm,
        freeze_encoder=False,
        encoder=encoder(dataclasses.replace(ENCODER, transformer=none)),
        audio_encoder=none,
        compressor=compressor("none"),
        llm=LLMConfig(str(tiny_llm), train="full", random_weights=True),
        prefix_mask=mask,
    )


def take(
    batch: Batch, text: torch.Tensor, text_lengths: torch.Tensor, row: int
) -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """One utterance by itself, without padding."""
    one = slice(row, row + 1)
    assert isinstance(batch.audio, Features)
    lengths = batch.audio.lengths[one]
    audio = Features(batch.audio.values[one, : lengths[0]], lengths)
    prompt, suffix = batch.prompt[one, : batch.prompt_lengths[row]], batch.suffix[one, : batch.suffix_lengths[row]]
    single = Batch(
        audio, prompt, batch.prompt_lengths[one], suffix, batch.suffix_lengths[one],
    )  # fmt: skip
    return single, text[one, : text_lengths[row]], text_lengths[one]


@pytest.mark.parametrize("mask", ["causal", "non_causal"])
@pytest.mark.parametrize(
    "name", ["frame_average", "blank_removal", "units", "posteriors", "none", "none, from scratch"]
)
def test_the_batch_loss_is_the_token_mean_of_the_utterances_alone(tiny_llm: Path, mask: Any, name: Any) -> None:
    if name == "none, from scratch":
        network = build_d(tiny_llm, mask)
    else:
        conf = {"num_clusters": 9} if name == "units" else {}
        network = build(tiny_llm, prefix_mask=mask, compressor=compressor(name, **conf))
    batch, text, lengths = make_batch()
    together = network(batch, text, lengths)
    single = [network(*take(batch, text, lengths, row)) for row in range(3)]
    total = sum(float(part.loss * part.num_tokens) for part in single)
    assert together.num_tokens.item() == sum(part.num_tokens.item() for part in single) == 3 + 1 + 2 + 3
    assert together.loss.item() == pytest.approx(total / 9, abs=1e-4)


def test_the_loss_equals_a_loop_over_text_positions(tiny_llm: Path) -> None:
    network = build(tiny_llm, prefix_mask="causal")
    batch, text, lengths = make_batch()
    batch, text, lengths = take(batch, text, lengths, 0)
    prefix = network.embed_prefix(batch).embeddings
    total = 0.0
    for position, label in enumerate([*text[0].tolist(), EOS]):
        known = torch.cat((prefix, network.llm.embed(text[:, :position])), dim=1)
        logits = network.llm.model(inputs_embeds=known).logits[0, -1]  # transformers' own causal mask and positions
        total -= logits.log_softmax(-1)[label].item()
    assert network(batch, text, lengths).loss.item() == pytest.approx(total / 4, abs=1e-4)


def test_the_mask_matters_inside_the_llm(tiny_llm: Path) -> None:
    batch, text, lengths = make_batch()
    masks: tuple[Any, ...] = ("causal", "non_causal")
    causal, non_causal = (build(tiny_llm, prefix_mask=mask)(batch, text, lengths).loss for mask in masks)
    assert abs(causal.item() - non_causal.item()) > 1e-3


@pytest.mark.parametrize("choice", [compressor("frame_average"), compressor("posteriors", keep_states=True)])
def test_a_cached_batch_gives_the_loss_of_the_features(tiny_llm: Path, choice: Any) -> None:
    network = build(tiny_llm, compressor=choice)
    batch, text, lengths = make_batch()
    assert isinstance(batch.audio, Features)
    compressed = network.compress(batch.audio)
    cached = batch._replace(audio=Compressed(compressed.vectors, compressed.lengths))
    expected = network(batch, text, lengths).loss.item()
    assert network(cached, text, lengths).loss.item() == pytest.approx(expected, abs=1e-6)


SYSTEMS: dict[str, tuple[dict[str, Any], set[str]]] = {
    "E0": (
        {"freeze_encoder": False, "compressor": compressor("convolution")},
        {"encoder", "compressor", "audio_encoder"},
    ),
    "E5": ({}, {"audio_encoder"}),
    "E6": ({"llm": "lora"}, {"audio_encoder", "llm"}),
    "E6, audio encoder frozen": ({"llm": "lora", "train_audio_encoder": False}, {"llm"}),
    "full": ({"llm": "full"}, {"audio_encoder", "llm"}),
    "U": ({"llm": "lora", "compressor": compressor("units", num_clusters=9)}, {"audio_encoder", "llm"}),
    "L, frozen LLM": ({"compressor": compressor("posteriors")}, {"audio_encoder"}),
    "L": ({"llm": "lora", "compressor": compressor("posteriors")}, {"audio_encoder", "llm"}),
    "L, gate": ({"compressor": compressor("posteriors", keep_states=True)}, {"audio_encoder"}),
    "L, only LoRA": (
        {"llm": "lora", "train_audio_encoder": False, "compressor": compressor("posteriors", keep_states=True)},
        {"llm"},
    ),
}


@pytest.mark.parametrize("system", SYSTEMS)
def test_gradients_flow_where_the_config_says_and_nowhere_else(tiny_llm: Path, system: str) -> None:
    changes, expected = SYSTEMS[system]
    if "llm" in changes:
        changes = {**changes, "llm": LLMConfig(str(tiny_llm), train=changes["llm"])}
    network = build(tiny_llm, **changes).train()
    network(*make_batch()).loss.backward()
    for part, module in network.named_children():
        parameters = dict(module.named_parameters())
        if part not in expected:
            assert all(parameter.grad is None for parameter in parameters.values()), part
            continue
        trainable = {name: parameter for name, parameter in parameters.items() if parameter.requires_grad}
        assert trainable
        assert all(parameter.grad is not None for parameter in trainable.values()), part


D_MASKS = {
    # [padding ; audio, audio, <SOS> ; text, text]: who (row) sees whom (column), of an utterance of two frames in a
    # batch whose longest has three. If non-causal, audio and <SOS> see each other fully; the text is causal anyhow. The
    # row of padding is left out: no other row reads it.
    "causal": [
        [0, 1, 0, 0, 0, 0],
        [0, 1, 1, 0, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 1, 1, 1, 1],
    ],
    "non_causal": [
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 0, 0],
        [0, 1, 1, 1, 1, 0],
        [0, 1, 1, 1, 1, 1],
    ],
}


@pytest.mark.parametrize("mask", D_MASKS)
def test_the_mask_of_the_decoder_from_scratch_is_the_hand_written_one(tiny_llm: Path, mask: str) -> None:
    network, seen = build_d(tiny_llm, mask), {}
    network.llm.model.register_forward_pre_hook(lambda _, __, given: seen.update(given), with_kwargs=True)
    speech = Features(torch.randn(2, 12, 10), torch.tensor([12, 8]))
    nothing, sos = torch.zeros(2, 0, dtype=torch.long), torch.tensor([[1], [1]])
    batch = Batch(speech, nothing, torch.zeros(2, dtype=torch.long), sos, torch.tensor([1, 1]))
    network(batch, torch.tensor([[40, 41], [42, 43]]), torch.tensor([2, 2]))
    assert seen["attention_mask"][1, 0, 1:].eq(0).int().tolist() == D_MASKS[mask]
    assert seen["position_ids"].tolist() == [[0, 1, 2, 3, 4, 5], [0, 0, 1, 2, 3, 4]]
    torch.testing.assert_close(seen["inputs_embeds"][:, 3], network.llm.embed(sos)[:, 0])
    assert not seen["inputs_embeds"][1, 0].any()


def test_the_decoder_from_scratch_equals_its_llama_on_audio_start_and_text(tiny_llm: Path) -> None:
    network = build_d(tiny_llm, "causal")
    speech, text = torch.randn(1, 21, 10), torch.tensor([[40, 41, 42]])
    nothing, none = torch.zeros(1, 0, dtype=torch.long), torch.tensor([0])
    features = Features(speech, torch.tensor([21]))
    batch = Batch(features, nothing, none, torch.tensor([[1]]), torch.tensor([1]))
    frames, _ = network.encoder.get_submodule("subsampling")(
        speech, torch.tensor([21])
    )  # mean 0 and deviation 1 change nothing
    audio = network.audio_encoder.norm(network.audio_encoder.projection(frames))  # type: ignore[operator]
    words = network.llm.model.get_input_embeddings()(torch.tensor([[1, 40, 41, 42]]))
    logits = network.llm.model(inputs_embeds=torch.cat((audio, words), dim=1)).logits[0, 6:]  # 6 frames, then <SOS>
    expected = torch.nn.functional.cross_entropy(logits, torch.tensor([40, 41, 42, EOS]))
    assert network(batch, text, torch.tensor([3])).loss.item() == pytest.approx(expected.item(), abs=1e-5)


def test_everything_trains_in_the_decoder_from_scratch(tiny_llm: Path) -> None:
    network = build_d(tiny_llm, "non_causal").train()
    network(*make_batch()).loss.backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    parts = {name.split(".")[0] for name, _ in network.named_parameters()}
    assert parts == {"encoder", "audio_encoder", "llm"}


def test_a_compressor_of_a_trained_encoder_is_refused_where_the_encoder_trains(tiny_llm: Path) -> None:
    message = "the compressor frame_average needs a trained encoder: .* takes one of convolution, none"
    with pytest.raises(ValueError, match=message):
        build(tiny_llm, freeze_encoder=False)
    with pytest.raises(ValueError, match="the compressor units needs a trained encoder"):
        build(tiny_llm, freeze_encoder=False, compressor=compressor("units", num_clusters=9))


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("train", ["frozen", "lora"])
def test_a_bfloat16_llm_trains_the_rest_in_float32(tiny_llm: Path, train: Any, autocast: bool) -> None:
    network = build(tiny_llm, llm=LLMConfig(str(tiny_llm), train=train, dtype="bfloat16")).train()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        loss = network(*make_batch()).loss
    loss.backward()
    trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
    assert {parameter.dtype for parameter in trained} == {torch.float32}
    assert all(parameter.grad is not None and parameter.grad.isfinite().all() for parameter in trained)
    full = build(tiny_llm, llm=LLMConfig(str(tiny_llm), train=train)).train()
    assert loss.item() == pytest.approx(full(*make_batch()).loss.item(), rel=0.03)  # bfloat16 has 8 bits


def test_a_cached_batch_for_the_convolutions_is_refused(tiny_llm: Path) -> None:
    network = build(tiny_llm, freeze_encoder=False, compressor=compressor("convolution"))
    batch, text, lengths = make_batch()
    with pytest.raises(ValueError, match="the compressor convolution takes features, not compressed.scp"):
        network(batch._replace(audio=Compressed(torch.randn(3, 5, 16), torch.tensor([5, 1, 3]))), text, lengths)
