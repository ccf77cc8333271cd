#!/usr/bin/env python3
"""Time and memory of the three hot places, each beside its usual alternative, in one run on one thread.

    compression   one index_add_ over the batch      | a Python loop over runs
    training step loss on text positions             | loss on all positions (labels -100), as transformers does
    decoding      prefix once, beams share its keys  | generate() of transformers

Texts of both decoders are asserted equal. Weights are random, shapes are those of a small LLaMA.

    python3 tools/benchmark.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the tool also runs where the package is not installed

NUM_UTTERANCES, NUM_PROMPT, NUM_TEXT, VOCABULARY = 16, 12, 25, 32000
EOS = 2


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="counted runs of each side, after one that is not")
    parser.add_argument("--step", choices=["text", "all"], help=argparse.SUPPRESS)  # one side in a process of its own
    parser.add_argument("--num_audio", type=int, default=62, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Run all three, or one side of the training step in a process of its own."""
    args = get_parser().parse_args()
    import torch

    torch.set_num_threads(1)
    seed()
    if args.step:
        print(json.dumps(measure_step(args.step, args.num_audio, args.repeats)))
        return
    import transformers

    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{versions}, one thread, medians of {args.repeats} runs\n")
    print("| what | ours | alternative | ratio |\n|---|---|---|---|")
    compare_compression(args.repeats)
    for num_audio in (62, 300):
        compare_steps(num_audio, args.repeats)
    for beam in (1, 4):
        compare_decoding(beam, args.repeats)


def seed() -> None:
    """Make both sides draw the same numbers."""
    import torch

    torch.manual_seed(0)


def alternate(ours: Callable[[], Any], other: Callable[[], Any], repeats: int) -> tuple[float, float]:
    """Median seconds of two calls taken in turn, after one uncounted call of each."""
    ours(), other()
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(repeats):
        for call, spent in zip((ours, other), times, strict=True):
            start = time.perf_counter()
            call()
            spent.append(time.perf_counter() - start)
    return statistics.median(times[0]), statistics.median(times[1])


def row(what: str, ours: float, other: float, unit: str, ratio: str) -> None:
    """Print one line of the table."""
    print(f"| {what} | {ours:.1f} {unit} | {other:.1f} {unit} | {ratio} |", flush=True)


def compare_compression(repeats: int) -> None:
    """frame_average of 8 utterances of 1,500 frames over 5,000 units, runs of about three frames."""
    import torch

    from speechllama.model.audio import Encoded
    from speechllama.model.compressor import build_compressor

    labels = torch.randint(0, 5000, (8, 500)).repeat_interleave(3, 1)
    logits = torch.rand(8, 1500, 5000)
    logits.scatter_(2, labels[:, :, None], 2.0)
    encoded = Encoded(torch.randn(8, 1500, 512), logits, torch.arange(1500, 1100, -50))
    compressor = build_compressor("frame_average", {}, 512)

    def loop() -> list[torch.Tensor]:
        vectors = []
        for hidden, scores, length in zip(encoded.hidden, encoded.logits, encoded.lengths.tolist(), strict=True):
            best = [int(frame.argmax()) for frame in scores[:length]]
            runs, start = [], 0
            for _, group in itertools.groupby(best):
                size = len(list(group))
                runs.append(hidden[start : start + size].mean(0))
                start += size
            vectors.append(torch.stack(runs))
        return vectors

    for vectors, expected in zip(compressor(encoded).vectors, loop(), strict=True):
        torch.testing.assert_close(vectors[: len(expected)], expected)
    ours, other = alternate(lambda: compressor(encoded), loop, repeats)
    row("compression, 8 x 1,500 frames, 5,000 units", ours * 1e3, other * 1e3, "ms", f"{other / ours:.1f} times faster")


def build_network(num_audio: int) -> tuple[Any, Any, Any, Any]:
    """A Speech-LLaMA of width 256 and 4 layers, with a batch of compressed audio and text."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from speechllama.llm.config import LLMConfig
    from speechllama.llm.llm import LLM
    from speechllama.model.audio import Compressed
    from speechllama.model.config import SpeechLlamaConfig
    from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
    from speechllama.model.layers import TransformerConfig
    from speechllama.model.speech_llama import Batch, SpeechLlama

    with tempfile.TemporaryDirectory() as folder:
        shape = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=256,
            intermediate_size=688,
            num_hidden_layers=4,
            num_attention_heads=4,
            eos_token_id=EOS,
            tie_word_embeddings=False,
        )
        LlamaForCausalLM(shape).save_pretrained(folder)
        llm = LLM(LLMConfig(folder))
    config = SpeechLlamaConfig(
        audio_encoder=TransformerConfig(1, 128, 4, 256, 0.0),
        prefix_mask="causal",
    )
    network = SpeechLlama(config, CTCEncoder(CTCEncoderConfig(), num_units=2), llm)
    full = torch.full((NUM_UTTERANCES,), 1)
    batch = Batch(
        Compressed(torch.randn(NUM_UTTERANCES, num_audio, network.encoder.dim), full * num_audio),
        torch.randint(3, VOCABULARY, (NUM_UTTERANCES, NUM_PROMPT)),
        full * NUM_PROMPT,
        torch.zeros(NUM_UTTERANCES, 0, dtype=torch.long),
        full * 0,
    )
    return network, batch, torch.randint(3, VOCABULARY, (NUM_UTTERANCES, NUM_TEXT)), full * NUM_TEXT


def measure_step(side: str, num_audio: int, repeats: int) -> dict[str, float]:
    """Seconds of a step (forward and backward) and the memory it adds, in this process."""
    import torch

    network, batch, text, lengths = build_network(num_audio)
    network.train()

    def step() -> float:
        if side == "text":
            loss = network(batch, text, lengths).loss
        else:
            prefix = network.embed_prefix(batch).embeddings
            ended = torch.nn.functional.pad(text, (0, 1), value=EOS)
            embeddings = torch.cat((prefix, network.llm.embed(ended)), dim=1)
            labels = torch.cat((torch.full(prefix.shape[:2], -100), ended), dim=1)
            loss = network.llm.model(inputs_embeds=embeddings, labels=labels, use_cache=False).loss
        loss.backward()
        network.zero_grad()
        return float(loss)

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loss = step()
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return {"seconds": statistics.median(times), "added_mb": added / 1024, "loss": loss}


def compare_steps(num_audio: int, repeats: int) -> None:
    """Both sides in processes of their own, so that peak memory is each one's."""
    sides = []
    for side in ("text", "all"):
        command = [sys.executable, __file__, "--step", side, "--num_audio", str(num_audio), "--repeats", str(repeats)]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        sides.append(json.loads(output.splitlines()[-1]))
    ours, other = sides
    assert abs(ours["loss"] - other["loss"]) < 1e-3, (ours, other)
    what = f"{NUM_UTTERANCES} utterances, {num_audio} audio + {NUM_PROMPT} prompt + {NUM_TEXT} text, V {VOCABULARY:,}"
    seconds, memory = (ours[key] / other[key] for key in ("seconds", "added_mb"))
    row(f"step time, {what}", ours["seconds"] * 1e3, other["seconds"] * 1e3, "ms", f"{seconds:.2f} of the time")
    row(f"step memory, {what}", ours["added_mb"], other["added_mb"], "MB", f"{memory:.2f} of the memory")


def compare_decoding(beam: int, repeats: int) -> None:
    """The search beside generate() on the same prefixes of 30 to 74 positions, 40 new tokens at most."""
    import torch

    from speechllama.decode.search import SearchConfig, search

    network, batch, _, _ = build_network(num_audio=62)
    llm = network.llm.eval()
    with torch.no_grad():
        llm.model.get_output_embeddings().weight.mul_(20.0)  # as sure of itself as a trained model
        lengths = torch.arange(62, 62 - 3 * NUM_UTTERANCES, -3).clamp(min=18)
        prefix = network.eval().embed_prefix(batch._replace(audio=batch.audio._replace(lengths=lengths)))
        width = prefix.embeddings.shape[1]
        mask = (torch.arange(width)[None] >= (width - prefix.lengths)[:, None]).long()
    limits = torch.full((NUM_UTTERANCES,), 40)
    options = {"num_beams": beam, "do_sample": False, "max_new_tokens": 40, "eos_token_id": EOS, "pad_token_id": EOS}

    def ours() -> list[list[int]]:
        found = search(llm, prefix, limits, "causal", SearchConfig(beam_size=beam))
        return [nbest[0].tokens for nbest in found]

    def other() -> list[list[int]]:
        with torch.no_grad():
            rows = llm.model.generate(inputs_embeds=prefix.embeddings, attention_mask=mask, **options).tolist()
        return [list(itertools.takewhile(lambda token: token != EOS, row)) for row in rows]

    assert ours() == other(), "the two decoders disagree"
    seconds, generate_seconds = alternate(ours, other, repeats)
    what = f"decoding, {'greedy' if beam == 1 else f'beam {beam}'}, {NUM_UTTERANCES} utterances, equal text"
    row(what, seconds * 1e3, generate_seconds * 1e3, "ms", f"{generate_seconds / seconds:.2f} times faster")


if __name__ == "__main__":
    main()
