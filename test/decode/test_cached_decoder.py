"""Steps with kept keys and values against ESPnet's decoder reading whole texts."""

from __future__ import annotations

from typing import Any

import torch

from speechllama.decode.cached_decoder import CachedDecoder

FRAMES = torch.tensor([41, 22, 30])


def test_steps_with_cached_keys_equal_the_decoders_own_forward(tiny_seq2seq: Any) -> None:
    """Two hypotheses an utterance; after two steps both continue the second one."""
    speech = torch.randn(3, 41, 10, generator=torch.Generator().manual_seed(1))
    written = torch.tensor([[[4, 2], [6, 1], [3, 5]], [[1, 1], [2, 7], [5, 4]], [[7, 3], [3, 3], [1, 6]]])  # (A, t, K)
    with torch.no_grad():
        memory = tiny_seq2seq.encode(speech, FRAMES)
        decoder = CachedDecoder(tiny_seq2seq, memory)
        start = torch.full((3, 1), tiny_seq2seq.eos)
        first = decoder.step(start, torch.ones(3, 1, 1, dtype=torch.bool), 0)
        own, other = torch.eye(2, dtype=torch.bool), torch.tensor([[False, True], [False, True]])
        histories = [own, torch.cat((own, own), 1), torch.cat((other, other, own), 1)]
        for place, history in enumerate(histories, 1):
            seen = torch.nn.functional.pad(history, (1, 0), value=True).expand(3, -1, -1)
            last = decoder.step(written[:, place - 1], seen, place)
        for row in range(3):
            for beam in range(2):
                units = [tiny_seq2seq.eos, *written[row, :2, 1].tolist(), int(written[row, 2, beam])]
                one = slice(row, row + 1)
                states, length = memory.states[one, : memory.lengths[row]], memory.lengths[one]
                logits, _ = tiny_seq2seq.decoder(states, length, torch.tensor([units]), torch.tensor([4]))
                expected = logits[0].log_softmax(-1)[:, 1:]  # blank is set to impossible
                torch.testing.assert_close(last[row, beam, 1:], expected[3], atol=1e-5, rtol=0)
                torch.testing.assert_close(first[row, 0, 1:], expected[0], atol=1e-5, rtol=0)
        assert bool((last[:, :, 0] == -torch.inf).all())
