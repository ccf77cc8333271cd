#!/usr/bin/env python3
"""Time and memory of the hot spots, each next to its common alternative, in one run on one thread.

    compression   one index_add_ over the batch      | a Python loop over runs
    training step loss on text positions             | loss on all positions (labels -100), as transformers does
    LM head       text columns picked by index       | the last columns cut off, as transformers does
    packed lines  text of an LLM of its own, packed  | a padded row for each line
    later epoch   compressed vectors from the cache  | features through the frozen encoder in every epoch
    decoding      prefix once, beams share its keys  | generate() of transformers

The two sides run in turn, and the ratio is the median of the ratios of such pairs, with the least and the most: what
else the machine does then slows both. Texts of both decoders and losses of both steps are asserted equal. Weights are
random, shapes are those of a small LLaMA.

    python3 tools/benchmark.py [--repeats 5]
"""

from __future__ import annotations

import argparse
import itertools
import json
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tool also runs where the package is not installed

from tools.pairs import Pairs, alternate
from tools.step_process import StepProcess

NUM_UTTERANCES, NUM_PROMPT, NUM_TEXT, VOCABULARY = 16, 12, 25, 32000
NUM_FRAMES, NUM_UNITS = 300, 120  # features of 3 s, CTC units
EOS = 2
# Sides of a training step: loss on text or on all positions; audio from the cache or from features.
SIDES = ("text", "all", "cache", "features")
Layers = tuple[int, int, int, int, float]  # of TransformerConfig: layers, width, heads, width inside, dropout


@dataclass(frozen=True)
class Sizes:
    """Sizes of a Speech-LLaMA: of the LLM (its tokens, width, width inside, layers), the encoder, the audio encoder."""

    llm: tuple[int, int, int, int]
    encoder: Layers
    audio_encoder: Layers


def small_llama() -> Sizes:
    """A small LLaMA with the vocabulary of a large one, whose logits cost the most."""
    return Sizes((VOCABULARY, 256, 688, 4), (4, 256, 4, 1024, 0.0), (1, 128, 4, 256, 0.0))


def mini_recipe() -> Sizes:
    """E5 of egs/mini_covost2."""
    return Sizes((min(VOCABULARY, 1000), 128, 344, 3), (4, 128, 4, 512, 0.0), (2, 128, 4, 512, 0.0))


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5, help="counted runs of each side, after one that is not")
    parser.add_argument("--step", choices=SIDES, help=argparse.SUPPRESS)  # one side in a process of its own
    parser.add_argument("--num_audio", type=int, default=62, help=argparse.SUPPRESS)
    return parser


def main() -> None:
    """Run all of them, or one side of a training step in a process of its own."""
    args = get_parser().parse_args()
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)  # both sides draw the same numbers
    if args.step:
        serve_steps(args.step, args.num_audio)
        return
    import transformers

    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{versions}, one thread, medians of {args.repeats} runs\n")
    print("| what | ours | alternative | ratio |\n|---|---|---|---|")
    compare_compression(args.repeats)
    for num_audio in (62, 300):
        compare_losses(num_audio, args.repeats)
    for dtype in (torch.float32, torch.bfloat16):
        compare_heads(dtype, args.repeats)
    compare_packing(args.repeats)
    compare_epochs(args.repeats)
    for beam in (1, 4):
        compare_decoding(beam, args.repeats)


def row(what: str, ours: float, other: float, unit: str, ratio: str) -> None:
    """Print one line of the table."""
    print(f"| {what} | {ours:.1f} {unit} | {other:.1f} {unit} | {ratio} |", flush=True)


def time_row(what: str, pairs: Pairs, is_faster: bool) -> None:
    """Print medians in milliseconds and their ratio."""
    ours, other = (statistics.median(seconds) * 1e3 for seconds in pairs)
    row(what, ours, other, "ms", pairs.ratio(is_faster))


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
    pairs = alternate(lambda: compressor(encoded), loop, repeats)
    time_row("compression, 8 x 1,500 frames, 5,000 units", pairs, is_faster=True)


def build_network(num_audio: int, sizes: Sizes) -> tuple[Any, Any, Any, Any]:
    """A Speech-LLaMA of these sizes, with a batch of compressed audio and text."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from speechllama.llm.config import LLMConfig
    from speechllama.llm.llm import LLM
    from speechllama.model.audio import Compressed
    from speechllama.model.config import SpeechLlamaConfig
    from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
    from speechllama.model.encoders import DEFAULT_ENCODER, ENCODERS
    from speechllama.model.layers import TransformerConfig
    from speechllama.model.speech_llama import Batch, SpeechLlama
    from speechllama.registry import Choice

    vocabulary, width, ffn_dim, num_layers = sizes.llm
    with tempfile.TemporaryDirectory() as folder:
        shape = LlamaConfig(
            vocab_size=vocabulary,
            hidden_size=width,
            intermediate_size=ffn_dim,
            num_hidden_layers=num_layers,
            num_attention_heads=4,
            eos_token_id=EOS,
            tie_word_embeddings=False,
        )
        LlamaForCausalLM(shape).save_pretrained(folder)
        llm = LLM(LLMConfig(folder))
    config = SpeechLlamaConfig(
        encoder=Choice(
            ENCODERS[DEFAULT_ENCODER],
            CTCEncoderConfig(conv_channels=32, transformer=TransformerConfig(*sizes.encoder)),
        ),
        audio_encoder=TransformerConfig(*sizes.audio_encoder),
        prefix_mask="causal",
    )
    network = SpeechLlama(config, CTCEncoder(config.encoder.settings, NUM_UNITS), llm)
    full = torch.full((NUM_UTTERANCES,), 1)
    batch = Batch(
        Compressed(torch.randn(NUM_UTTERANCES, num_audio, network.encoder.dim), full * num_audio),
        torch.randint(3, vocabulary, (NUM_UTTERANCES, NUM_PROMPT)),
        full * NUM_PROMPT,
        torch.zeros(NUM_UTTERANCES, 0, dtype=torch.long),
        full * 0,
    )
    return network, batch, torch.randint(3, vocabulary, (NUM_UTTERANCES, NUM_TEXT)), full * NUM_TEXT


def make_step(side: str, num_audio: int) -> Callable[[], float]:
    """One side's training step, forward and backward, on the very batch of the other side -> its loss."""
    import torch

    from speechllama.constants import NUM_MELS
    from speechllama.model.audio import Features

    is_of_epochs = side in ("cache", "features")
    network, batch, text, lengths = build_network(num_audio, mini_recipe() if is_of_epochs else small_llama())
    network.train()
    if is_of_epochs:
        speech = torch.randn(NUM_UTTERANCES, NUM_FRAMES, NUM_MELS)
        batch = batch._replace(audio=Features(speech, torch.full((NUM_UTTERANCES,), NUM_FRAMES)))
    if side == "cache":
        batch = batch._replace(audio=network.compress(batch.audio))

    def step() -> float:
        if side == "all":
            prefix = network.embed_prefix(batch).embeddings
            ended = torch.nn.functional.pad(text, (0, 1), value=EOS)
            embeddings = torch.cat((prefix, network.llm.embed(ended)), dim=1)
            labels = torch.cat((torch.full(prefix.shape[:2], -100), ended), dim=1)
            loss = network.llm.model(inputs_embeds=embeddings, labels=labels, use_cache=False).loss
        else:
            loss = network(batch, text, lengths).loss
        loss.backward()
        network.zero_grad()
        return float(loss.detach())

    return step


def serve_steps(side: str, num_audio: int) -> None:
    """Print the loss of a step and the memory that it adds, then a step's seconds for each line of stdin."""
    step = make_step(side, num_audio)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    loss = step()
    added = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(json.dumps({"loss": loss, "added_mb": added / 1024}), flush=True)
    for _ in sys.stdin:
        start = time.process_time()
        step()
        print(json.dumps({"seconds": time.process_time() - start}), flush=True)


def alternate_steps(sides: tuple[str, str], num_audio: int, repeats: int) -> tuple[Pairs, tuple[float, float]]:
    """Seconds of both sides' steps in turn, and the memory in MB that a step of each adds."""
    first, second = ([sys.executable, __file__, "--step", side, "--num_audio", str(num_audio)] for side in sides)
    with StepProcess(first) as ours, StepProcess(second) as other:
        assert abs(ours.first["loss"] - other.first["loss"]) < 1e-3, (ours.first, other.first)
        seconds = [(ours.seconds(), other.seconds()) for _ in range(repeats)]
        memory = (ours.first["added_mb"], other.first["added_mb"])
    return Pairs(*map(list, zip(*seconds, strict=True))), memory


def compare_losses(num_audio: int, repeats: int) -> None:
    """Time and memory of a step with the loss on text positions, and on all."""
    pairs, (ours, other) = alternate_steps(("text", "all"), num_audio, repeats)
    what = f"{NUM_UTTERANCES} utterances, {num_audio} audio + {NUM_PROMPT} prompt + {NUM_TEXT} text, V {VOCABULARY:,}"
    time_row(f"step time, {what}", pairs, is_faster=False)
    row(f"step memory, {what}", ours, other, "MB", f"{ours / other:.2f} of the memory")


def compare_heads(dtype: Any, repeats: int) -> None:
    """The LM head of SmolLM2-135M over the text of 7 utterances of LibriSpeech, forward and backward."""
    import torch

    states = torch.randn(7, 145, 576, dtype=dtype, requires_grad=True)
    weight = torch.randn(49152, 576, dtype=dtype)
    columns = torch.arange(100, 145)
    gradient = torch.randn(7, 45, 49152, dtype=dtype)

    def run(chosen: torch.Tensor) -> torch.Tensor:
        states.grad = None
        logits = torch.nn.functional.linear(chosen, weight)
        logits.backward(gradient)
        return logits.detach()

    def by_index() -> torch.Tensor:
        return run(states[:, columns])

    def cut_off() -> torch.Tensor:
        return run(states[:, -45:])

    torch.testing.assert_close(by_index(), cut_off())
    what = f"LM head, 7 x 45 of 145 columns, V 49,152, {str(dtype).removeprefix('torch.')}"
    time_row(what, alternate(by_index, cut_off, repeats), is_faster=True)


def compare_packing(repeats: int) -> None:
    """A step of a recipe's own LLM on lines of 12 to 58 tokens: packed, and each in a row of its own."""
    import torch

    from speechllama.llm.text_llm import collate, target_loss
    from speechllama.text.padding import pad_ids

    llm = build_network(1, mini_recipe())[0].llm.model.requires_grad_(True)
    lines = [torch.randint(3, min(VOCABULARY, 1000), (size,)).tolist() for size in range(12, 60, 2)]
    rows = [{"input_ids": line, "labels": [-100] * (len(line) - 9) + line[-9:]} for line in lines]
    ids, lengths = pad_ids(lines)
    places = torch.arange(ids.shape[1]).expand_as(ids)
    labels = pad_ids([row["labels"] for row in rows])[0].masked_fill(places >= lengths[:, None], -100)

    def step(batch: dict[str, torch.Tensor]) -> float:
        (loss := target_loss(llm, **batch)).backward()
        return float(loss)

    packed, alone = collate(rows), {"input_ids": ids.clamp(min=0), "position_ids": places, "labels": labels}
    assert abs(step(packed) - step(alone)) < 1e-4, "the two steps have different losses"
    pairs = alternate(lambda: step(packed), lambda: step(alone), repeats)
    time_row("step of the mini recipe's LLM, 24 lines of 12 to 58 tokens, equal loss", pairs, is_faster=False)


def compare_epochs(repeats: int) -> None:
    """Time of a step of a later epoch: the compressed vectors are in the cache, or made anew of the features."""
    pairs, _ = alternate_steps(("cache", "features"), 0, repeats)
    what = f"step of a later epoch, E5 of the mini recipe, {NUM_UTTERANCES} utterances of {NUM_FRAMES} frames"
    time_row(what, pairs, is_faster=False)


def compare_decoding(beam: int, repeats: int) -> None:
    """The search next to generate() on the same prefixes of 30 to 74 positions, 40 new tokens at most."""
    import torch

    from speechllama.decode.search import SearchConfig, search

    network, batch, _, _ = build_network(62, small_llama())
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
    pairs = alternate(ours, other, repeats)
    what = f"decoding, {'greedy' if beam == 1 else f'beam {beam}'}, {NUM_UTTERANCES} utterances, equal text"
    time_row(what, pairs, is_faster=True)


if __name__ == "__main__":
    main()
