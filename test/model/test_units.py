"""Discrete units: the nearest centroid by a loop, repeats merged, padding, embeddings, refusals."""

from __future__ import annotations

import itertools

import pytest
import torch

from speechllama.feature_shape import FeatureShape
from speechllama.model.audio import Encoded
from speechllama.model.compressor import UnitCompressor
from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
from speechllama.model.layers import TransformerConfig
from speechllama.model.spec_augment import SpecAugmentConfig
from speechllama.model.units import Codebook, UnitEmbedding

NUM_CLUSTERS, DIM = 6, 8
LENGTHS = torch.tensor([40, 1, 17, 33])


def make_compressor(seed: int = 0) -> UnitCompressor:
    compressor = UnitCompressor(NUM_CLUSTERS, DIM)
    compressor.codebook.set_centroids(torch.randn(NUM_CLUSTERS, DIM, generator=torch.Generator().manual_seed(seed)))
    return compressor


def make_states(seed: int) -> Encoded:
    """States that stay near one another for two frames, so that there are repeats; no CTC logits are needed."""
    hidden = torch.randn(4, 20, DIM, generator=torch.Generator().manual_seed(seed)).repeat_interleave(2, dim=1)
    return Encoded(hidden, hidden[:, :, :0], LENGTHS)


def loop(states: torch.Tensor, centroids: torch.Tensor) -> list[int]:
    """One utterance's units, frame by frame: the definition."""
    units = []
    for state in states:
        distances = [float((state - centroid).square().sum()) for centroid in centroids]
        units.append(distances.index(min(distances)))
    return [unit for unit, _ in itertools.groupby(units)]


@pytest.mark.parametrize("seed", range(4))
def test_units_are_the_nearest_centroids_with_repeats_merged(seed: int) -> None:
    compressor, encoded = make_compressor(seed), make_states(seed)
    compressed = compressor(encoded)
    for row, length in enumerate(LENGTHS.tolist()):
        expected = loop(encoded.hidden[row, :length], compressor.codebook.centroids)
        size = int(compressed.lengths[row])
        assert compressed.vectors[row, :size].tolist() == expected
        assert not compressed.vectors[row, size:].any()
        assert 1 <= size < max(2, length)  # there were repeats


def test_units_are_the_same_for_a_padded_and_an_unpadded_utterance() -> None:
    torch.manual_seed(0)
    sizes = TransformerConfig(num_layers=1, dim=DIM, num_heads=2, ffn_dim=16, dropout=0.0)
    encoder = CTCEncoder(CTCEncoderConfig(4, sizes, SpecAugmentConfig(0, 0, 0, 0.0)), 5, FeatureShape(10)).eval()
    speech, lengths, compressor = torch.randn(4, 160, 10), LENGTHS * 4, make_compressor()
    batched = compressor(encoder(speech, lengths))
    assert len(set(batched.vectors.flatten().tolist())) > 2
    for row, length in enumerate(lengths.tolist()):
        single = compressor(encoder(speech[row : row + 1, :length], lengths[row : row + 1]))
        assert single.lengths[0] == batched.lengths[row]
        assert torch.equal(single.vectors[0], batched.vectors[row, : int(single.lengths)])


def test_half_precision_moves_no_frame_to_another_cluster() -> None:
    compressor, encoded = make_compressor(), make_states(5)
    with torch.autocast("cpu", torch.bfloat16):
        cast = compressor(encoded)
    assert torch.equal(cast.vectors, compressor(encoded).vectors)
    assert cast.vectors.dtype == torch.int64


def test_each_unit_has_its_row_of_the_table_and_padding_is_zero() -> None:
    table = UnitEmbedding(NUM_CLUSTERS, 16, embedding_std=0.02)
    units, lengths = torch.tensor([[3, 0, 5], [1, 99, -1]]), torch.tensor([3, 1])
    embeddings = table(units, lengths)
    for row, length in enumerate(lengths.tolist()):
        for column in range(3):
            expected = table.table.weight[int(units[row, column])] if column < length else torch.zeros(16)
            torch.testing.assert_close(embeddings[row, column], expected)
    embeddings.square().sum().backward()
    assert table.table.weight.grad is not None
    assert table.table.weight.grad.abs().sum(1).nonzero()[:, 0].tolist() == [0, 1, 3, 5]


def test_the_embeddings_start_at_the_scale_of_the_llms() -> None:
    torch.manual_seed(0)
    assert UnitEmbedding(500, 64, embedding_std=0.3).table.weight.std().item() == pytest.approx(0.3, rel=0.02)


def test_units_without_an_embedding_are_refused() -> None:
    table, lengths = UnitEmbedding(NUM_CLUSTERS, 16, 0.02), torch.tensor([2])
    with pytest.raises(ValueError, match="unit 6 has no embedding: there are 6, from 0; .* run stage `compress`"):
        table(torch.tensor([[2, 6]]), lengths)
    with pytest.raises(ValueError, match="unit -1 has no embedding"):
        table(torch.tensor([[-1, 2]]), lengths)
    with pytest.raises(ValueError, match="expected unit numbers .B, U., found vectors .1, 2, 8.: another compressor"):
        table(torch.zeros(1, 2, DIM), lengths)


def test_centroids_of_another_number_or_width_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the centroids are 5 of width 8, num_clusters .* expect 6 of width 8; learn"):
        Codebook(NUM_CLUSTERS, DIM).set_centroids(torch.zeros(5, DIM))
