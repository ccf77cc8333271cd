"""Posteriors as embeddings: runs and weighted sums by a loop, padding, temperature, gate, gradients, refusals."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.feature_shape import FeatureShape
from speechllama.llm.config import LLMConfig
from speechllama.llm.llm import LLM
from speechllama.model.audio import Encoded
from speechllama.model.audio_encoder import AudioEncoder, Ends
from speechllama.model.compressors import PosteriorSettings
from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
from speechllama.model.layers import TransformerConfig
from speechllama.model.posteriors import GATE_START, PosteriorCompressor, PosteriorEmbedding
from speechllama.model.spec_augment import SpecAugmentConfig

NUM_UNITS, DIM, LLM_DIM = 7, 8, 12
LENGTHS = torch.tensor([40, 1, 17, 33])
ENDS = Ends(DIM, NUM_UNITS, LLM_DIM, 0.5)
SIZES = TransformerConfig(num_layers=1, dim=DIM, num_heads=2, ffn_dim=16, dropout=0.0)
# Of 6 units besides blank, 6 or all are the whole sum, and 2 a part of it.
SETTINGS = [
    PosteriorSettings(),
    PosteriorSettings(num_best=6, keep_states=True),
    PosteriorSettings(num_best=2, temperature=0.5),
    PosteriorSettings(num_best=2, temperature=2.0, keep_states=True, max_compressed_length=3),
]


def make_encoded(seed: int) -> Encoded:
    """Four utterances of few labels, so that runs are long; the third has only blank frames. Padding holds noise."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (4, 20), generator=generator).repeat_interleave(2, dim=1)
    logits = torch.nn.functional.one_hot(labels, NUM_UNITS) * 3.0 + torch.rand(4, 40, NUM_UNITS, generator=generator)
    logits[2, :, 0] += 6.0
    return Encoded(torch.randn(4, 40, DIM, generator=generator), logits, LENGTHS)


def make_embedding(settings: PosteriorSettings) -> PosteriorEmbedding:
    """An embedding with a random table; every parameter is away from where it starts."""
    torch.manual_seed(0)
    encoder = AudioEncoder(SIZES, DIM, LLM_DIM, 0.5) if settings.keep_states else None
    embedding = PosteriorEmbedding(settings, ENDS, encoder).eval()
    with torch.no_grad():
        embedding.table.normal_()
        embedding.table[0] = 99.0  # blank's row must never count
        embedding.log_temperature.fill_(0.3)
        embedding.scale.normal_()
        embedding.shift.normal_()
    return embedding


def find_runs(logits: torch.Tensor, limit: int | None) -> list[list[int]]:
    """Frames of each vector of an utterance, by the definition."""
    runs, frame = [], 0
    for label, group in itertools.groupby(logits.argmax(-1).tolist()):
        size = len(list(group))
        if label != 0:
            runs.append(list(range(frame, frame + size)))
        frame += size
    if not runs:
        runs = [[int(logits.softmax(-1)[:, 0].argmin())]]
    if limit and len(runs) > limit:
        merged: list[list[int]] = [[] for _ in range(limit)]
        for number, run in enumerate(runs):
            merged[number * limit // len(runs)] += run
        runs = merged
    return runs


def loop(encoded: Encoded, row: int, embedding: PosteriorEmbedding, settings: PosteriorSettings) -> torch.Tensor:
    """One utterance's embeddings (U, H), unit by unit: the definition."""
    length = int(encoded.lengths[row])
    hidden, logits = encoded.hidden[row, :length], encoded.logits[row, :length]
    temperature = settings.temperature * float(embedding.log_temperature.exp())
    vectors, states = [], []
    for run in find_runs(logits, settings.max_compressed_length):
        states.append(torch.stack([hidden[frame] for frame in run]).mean(0))
        mean = {unit: 0.0 for unit in range(1, NUM_UNITS)}
        for frame in run:
            heard = [float(logits[frame, unit].exp()) for unit in mean]  # without blank, whose row is no text
            for unit, value in zip(mean, heard, strict=True):
                mean[unit] += value / sum(heard) / len(run)
        best = sorted(mean, key=lambda unit: -mean[unit])[: settings.num_best]
        powers = {unit: mean[unit] ** (1 / temperature) for unit in best}
        total = sum(powers.values())
        vector = sum(power / total * embedding.table[unit] for unit, power in powers.items())
        vectors.append(vector * (1 + embedding.scale) + embedding.shift)
    embedded = torch.stack(vectors)
    if embedding.audio_encoder:
        read = embedding.audio_encoder(torch.stack(states)[None], torch.tensor([len(states)]))[0]
        embedded = embedded + embedding.gate * read
    return embedded


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
@pytest.mark.parametrize("seed", range(3))
@torch.no_grad()
def test_every_vector_is_the_weighted_sum_of_the_loop(seed: int, settings: PosteriorSettings) -> None:
    encoded, embedding = make_encoded(seed), make_embedding(settings)
    compressed = PosteriorCompressor(settings)(encoded)
    embedded = embedding(compressed.vectors, compressed.lengths)
    for row in range(4):
        expected = loop(encoded, row, embedding, settings)
        size = int(compressed.lengths[row])
        assert size == len(expected)
        torch.testing.assert_close(embedded[row, :size], expected, atol=1e-5, rtol=1e-5)
        assert not embedded[row, size:].any()
        assert not compressed.vectors[row, size:].any()


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_a_padded_utterance_is_embedded_as_the_same_one_alone(settings: PosteriorSettings) -> None:
    torch.manual_seed(0)
    encoder = CTCEncoder(
        CTCEncoderConfig(4, SIZES, SpecAugmentConfig(0, 0, 0, 0.0)), NUM_UNITS, FeatureShape(10)
    ).eval()
    speech, lengths, compressor = torch.randn(4, 160, 10) * 3, LENGTHS * 4, PosteriorCompressor(settings)
    embedding = make_embedding(settings)
    batched = compressor(encoder(speech, lengths))
    padding = torch.full_like(batched.vectors[:, :5], float("nan"))
    together = embedding(torch.cat((batched.vectors, padding), dim=1), batched.lengths)  # whatever is behind the end
    assert int(batched.lengths.max()) > 2 or settings.max_compressed_length
    for row, length in enumerate(lengths.tolist()):
        single = compressor(encoder(speech[row : row + 1, :length], lengths[row : row + 1]))
        size = int(single.lengths)
        assert size == int(batched.lengths[row])
        alone = embedding(single.vectors, single.lengths)[0]
        torch.testing.assert_close(together[row, :size], alone, atol=1e-5, rtol=1e-4)
        assert not together[row, size:].any()


def test_the_temperature_is_that_of_ctcs_softmax_where_a_run_has_one_frame() -> None:
    logits = torch.randn(1, 6, NUM_UNITS)
    logits[0, torch.arange(6), torch.tensor([1, 2, 3, 4, 5, 6])] = 5.0
    compressed = PosteriorCompressor(PosteriorSettings())(Encoded(torch.zeros(1, 6, DIM), logits, torch.tensor([6])))
    embedding = PosteriorEmbedding(PosteriorSettings(temperature=0.7), ENDS)
    torch.nn.init.normal_(embedding.table)
    expected = (logits[0, :, 1:] / 0.7).softmax(-1) @ embedding.table[1:]
    torch.testing.assert_close(embedding(compressed.vectors, compressed.lengths)[0], expected)


def test_without_training_a_sure_unit_is_its_own_embedding() -> None:
    logits = torch.nn.functional.one_hot(torch.tensor([[3, 3, 0, 5]]), NUM_UNITS) * 100.0
    compressed = PosteriorCompressor(PosteriorSettings())(Encoded(torch.zeros(1, 4, DIM), logits, torch.tensor([4])))
    embedding = PosteriorEmbedding(PosteriorSettings(), ENDS)
    torch.nn.init.normal_(embedding.table)
    torch.testing.assert_close(embedding(compressed.vectors, compressed.lengths)[0], embedding.table[[3, 5]])


@pytest.mark.parametrize("settings", SETTINGS, ids=str)
def test_all_but_the_table_trains(settings: PosteriorSettings) -> None:
    encoded, embedding = make_encoded(1), make_embedding(settings).train()
    compressed = PosteriorCompressor(settings)(encoded)
    embedding(compressed.vectors, compressed.lengths).square().sum().backward()
    for name, parameter in embedding.named_parameters():
        if name == "table":
            assert parameter.grad is None and not parameter.requires_grad
        else:
            assert parameter.grad is not None and parameter.grad.isfinite().all() and parameter.grad.any(), name
    small = {name for name, _ in embedding.named_parameters() if not name.startswith("audio_encoder.")}
    assert small - {"gate"} == {"table", "log_temperature", "scale", "shift"}
    assert ("gate" in small) is settings.keep_states


def test_the_gradient_of_the_temperature_is_that_of_a_difference() -> None:
    settings = PosteriorSettings(num_best=3)
    embedding = make_embedding(settings)
    compressed = PosteriorCompressor(settings)(make_encoded(2))

    def total(value: float) -> torch.Tensor:
        with torch.no_grad():
            embedding.log_temperature.fill_(value)
        return embedding(compressed.vectors, compressed.lengths).square().sum()

    total(0.1).backward()
    assert embedding.log_temperature.grad is not None
    found = embedding.log_temperature.grad.item()
    assert found == pytest.approx((total(0.11) - total(0.09)).item() / 0.02, rel=1e-2)


def test_the_gate_starts_near_zero() -> None:
    plain = make_embedding(PosteriorSettings())
    gated = make_embedding(PosteriorSettings(keep_states=True))
    gated.load_state_dict(plain.state_dict(), strict=False)
    assert gated.gate.item() == pytest.approx(GATE_START) and GATE_START <= 0.02
    encoded = make_encoded(0)
    vectors = [
        embedding(*PosteriorCompressor(PosteriorSettings(keep_states=keep))(encoded)[:2])
        for embedding, keep in ((plain, False), (gated, True))
    ]
    assert 0 < (vectors[0] - vectors[1]).abs().max() < 5 * GATE_START


def test_half_precision_keeps_the_numbers_of_units() -> None:
    logits = torch.zeros(1, 1, 5000)
    logits[0, 0, 4999] = 30.0
    encoded = Encoded(torch.zeros(1, 1, DIM, dtype=torch.bfloat16), logits.bfloat16(), torch.tensor([1]))
    vectors = PosteriorCompressor(PosteriorSettings(num_best=3, keep_states=True))(encoded).vectors
    assert vectors.dtype == torch.float32 and vectors.shape == (1, 1, 3 + 3 + DIM)
    assert vectors[0, 0, 0] == 4999 and vectors[0, 0, 3] == pytest.approx(1.0)


def test_the_table_has_the_means_of_the_tokens_embeddings(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm)))
    embedding = PosteriorEmbedding(PosteriorSettings(), Ends(DIM, 4, llm.dim, 1.0))
    torch.nn.init.ones_(embedding.table)
    embedding.set_table([[], [20, 21, 22], [], [30]], llm)
    weight = llm.model.get_input_embeddings().weight
    torch.testing.assert_close(embedding.table[1], (weight[20] + weight[21] + weight[22]) / 3)
    torch.testing.assert_close(embedding.table[3], weight[30])
    assert not embedding.table[[0, 2]].any() and not embedding.table.requires_grad
    with pytest.raises(
        ValueError, match="3 CTC units have a text, the CTC encoder has 4 units; .* run stage ctc again"
    ):
        embedding.set_table([[], [20], [21]], llm)


def test_settings_say_what_a_directory_and_a_vector_are() -> None:
    settings = PosteriorSettings(num_best=8, keep_states=True, max_compressed_length=30, temperature=0.5)
    assert settings.label() == "8_states_max30" and PosteriorSettings().label() == "32"
    assert (settings.width(DIM), PosteriorSettings().width(DIM)) == (16 + DIM, 64)
    assert settings.cache_conf() == {"max_compressed_length": 30, "num_best": 8, "keep_states": True}


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_best": 0}, "num_best is 0: the compressor posteriors keeps at least 1 unit"),
        ({"temperature": 0.0}, "temperature 0.0 must be above 0"),
        ({"temperature": float("nan")}, "temperature nan must be above 0"),
        ({"max_compressed_length": 0}, "max_compressed_length 0 must be at least 1"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        PosteriorSettings(**settings)


def test_what_another_compressor_wrote_is_refused() -> None:
    embedding = PosteriorEmbedding(PosteriorSettings(), ENDS)
    message = r"expected 6 units, as many probabilities and 0 numbers of a state, found vectors \(1, 2, 8\): another"
    with pytest.raises(ValueError, match=message):
        embedding(torch.zeros(1, 2, 8), torch.tensor([2]))
    with pytest.raises(ValueError, match=r"found vectors \(1, 2\): another compressor wrote them"):
        embedding(torch.zeros(1, 2, dtype=torch.long), torch.tensor([2]))


def test_an_encoder_without_ctc_units_is_refused() -> None:
    with pytest.raises(ValueError, match="the compressor posteriors needs an encoder with CTC units, found 0 of them"):
        PosteriorEmbedding(PosteriorSettings(), ENDS._replace(num_units=0))
    with pytest.raises(ValueError, match="this compressor needs CTC logits, and the encoder has no CTC head"):
        encoded = make_encoded(0)
        PosteriorCompressor(PosteriorSettings())(encoded._replace(logits=encoded.logits[:, :, :0]))
