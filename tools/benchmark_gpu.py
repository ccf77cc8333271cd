#!/usr/bin/env python3
"""Time training and decoding at an LLM's real size on this machine's GPU, with random weights.

    matrix rate   a large product in bfloat16 and a copy of memory: what this card can do at best
    training      step of E5 and E6 over batch sizes: speech and positions per second, share of the matrix rate, memory
    decoding      beam search over batch sizes: real-time factor, tokens per second
    encoding      CTC encoder and compressor, the latter next to one pass over the memory that it must read

    python3 tools/benchmark_gpu.py
    python3 tools/benchmark_gpu.py --llm_config egs/covost2/conf/llm/tinyllama_1.1b.json --positions "4096 16384"

Utterances have the typical shape of CoVoST 2 (5 s, see BatchShape). The share of the matrix rate counts products that
the step needs: forward, and backward to the activations; not what checkpointing computes again.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # the tool also runs where the package is not installed

CONF = ROOT / "egs" / "covost2" / "conf"
SHARED_CONF = ROOT / "egs" / "TEMPLATE" / "conf"
NUM_UNITS = 1001
NUM_TOKENS = 30  # written for each utterance in decoding


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--llm_config", default=str(CONF / "llm" / "llama_7b.json"), help="shape of the LLM")
    conf = "folders, separated by colons, where the systems' YAML files and what they include are looked for"
    parser.add_argument("--conf_path", default=f"{CONF}:{SHARED_CONF}", help=conf)
    parser.add_argument("--systems", default="e5 e6", help="whose training is measured")
    parser.add_argument("--positions", default="2048 4096 8192 16384", help="LLM positions of a training batch")
    parser.add_argument("--decode_batches", default="1 16 64 128", help="utterances decoded together")
    parser.add_argument("--beam_size", type=int, default=4)
    parser.add_argument("--frames", type=int, default=120_000, help="feature frames of a batch of the CTC encoder")
    parser.add_argument("--matrix", type=int, default=8192, help="rows and columns of the product that is timed")
    parser.add_argument("--checkpointing", action="store_true", help="with gradient checkpointing")
    parser.add_argument("--compile", action="store_true", help="with torch.compile of the LLM's layers")
    parser.add_argument("--repeats", type=int, default=5, help="counted runs, after two that are not")
    parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"], help="cpu: to try the command")
    return parser


class Card:
    """The device, its clock and its memory."""

    def __init__(self, device: str, repeats: int) -> None:
        self.device, self.repeats = device, repeats
        self.is_gpu = device == "cuda"

    def seconds(self, call: Callable[[], Any]) -> float:
        """Median time of a call."""
        times = []
        for _ in range(2 + self.repeats):
            self.wait()
            start = time.perf_counter()
            call()
            self.wait()
            times.append(time.perf_counter() - start)
        return statistics.median(times[2:])

    def wait(self) -> None:
        """Let the GPU finish."""
        import torch

        if self.is_gpu:
            torch.cuda.synchronize()

    def peak_gb(self, call: Callable[[], Any]) -> str:
        """Most memory in use during a call."""
        import torch

        if not self.is_gpu:
            return "-"
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        call()
        self.wait()
        return f"{torch.cuda.max_memory_allocated() / 1e9:.1f}"


def main(cmd: Sequence[str] | None = None) -> None:
    """Run all of it."""
    args = get_parser().parse_args(cmd)
    import torch
    import transformers

    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("torch finds no GPU here; see tools/check_install.py, or try the command with --device cpu")
    torch.manual_seed(0)
    name = torch.cuda.get_device_name() if args.device == "cuda" else "CPU"
    print(f"{name}, torch {torch.__version__}, transformers {transformers.__version__}, {Path(args.llm_config).stem}\n")
    card = Card(args.device, args.repeats)
    rate, bandwidth = measure_card(card, args.matrix)
    print(f"matrix rate {rate / 1e12:.3g} TFLOP/s (bfloat16), memory {bandwidth / 1e9:.4g} GB/s (read and written)\n")
    measure_encoding(card, args, bandwidth)
    for system in args.systems.split():
        measure_training(card, args, system, rate)
    measure_decoding(card, args)


def measure_card(card: Card, size: int) -> tuple[float, float]:
    """Floating-point operations and bytes per second at best."""
    import torch

    left, right = (torch.randn(size, size, device=card.device, dtype=torch.bfloat16) for _ in range(2))
    rate = 2 * size**3 / card.seconds(lambda: left @ right)
    source = torch.empty(size * size * 8, device=card.device, dtype=torch.bfloat16)
    target = torch.empty_like(source)
    return rate, 2 * source.nbytes / card.seconds(lambda: target.copy_(source))


def read_settings(conf_path: str, name: str) -> dict[str, Any]:
    """Read the merged settings of a system or of `ctc`.

    Raises:
        FileNotFoundError: No folder of the search path has it.
    """
    from speechllama.config import find_config, load_config, split_conf_path

    folders = split_conf_path(conf_path)
    path = find_config(f"{name}.yaml", folders)
    if path is None:
        raise FileNotFoundError(f"{name}.yaml: no such config in {conf_path}")
    return load_config(path, folders).settings


def build(args: argparse.Namespace, system: str) -> tuple[Any, Any, bool]:
    """A system with random weights on the device, its architecture, and whether it trains in mixed precision."""
    import dataclasses

    import torch
    from transformers import AutoModelForCausalLM

    from speechllama.config import from_mapping
    from speechllama.llm.architecture import causal_lm_class
    from speechllama.llm.attention import choose_attention
    from speechllama.llm.llm import LLM
    from speechllama.llm.loading import choose_dtype
    from speechllama.model.build import speech_llama_config
    from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
    from speechllama.model.meta_model import read_architecture
    from speechllama.model.speech_llama import SpeechLlama
    from speechllama.recipe.preflight.speed import fill

    settings = read_settings(args.conf_path, system)
    config = speech_llama_config(settings, f"{system}.yaml", (args.llm_config, None))
    llm_config = dataclasses.replace(config.llm, gradient_checkpointing=args.checkpointing)
    config = dataclasses.replace(config, llm=llm_config)
    architecture = read_architecture(args.llm_config)
    with torch.device("meta"):
        model: Any = AutoModelForCausalLM.from_config(
            architecture,
            dtype=choose_dtype(config.llm.dtype, args.device),
            attn_implementation=choose_attention(config.llm.attention, causal_lm_class(architecture, args.llm_config)),
        )
    llm = LLM(config.llm, args.device, fill(model, args.device))
    if args.compile:
        llm.model.compile(dynamic=True)
    encoder_conf = read_settings(args.conf_path, "ctc")["encoder_conf"]
    encoder = CTCEncoder(from_mapping(CTCEncoderConfig, encoder_conf, "ctc.yaml: encoder_conf"), NUM_UNITS)
    return SpeechLlama(config, encoder, llm).to(args.device), architecture, bool(settings.get("use_amp"))


def make_batch(network: Any, shape: Any, device: str) -> tuple[Any, Any, Any]:
    """A batch of compressed audio, its text and the text's lengths."""
    import torch

    from speechllama.model.audio import Compressed
    from speechllama.model.speech_llama import Batch

    size = shape.num_utterances

    def count(number: int) -> Any:
        return torch.full((size,), number, device=device)

    vocabulary = network.llm.model.config.get_text_config().vocab_size
    audio = torch.randn(size, shape.num_audio, network.encoder.dim, device=device)
    prompt = torch.randint(3, vocabulary, (size, shape.num_prompt), device=device)
    empty = torch.zeros(size, 0, dtype=torch.long, device=device)
    batch = Batch(Compressed(audio, count(shape.num_audio)), prompt, count(shape.num_prompt), empty, count(0))
    return batch, torch.randint(3, vocabulary, (size, shape.num_text), device=device), count(shape.num_text)


def step_operations(network: Any, shape: Any) -> float:
    """Floating-point operations that a training step needs: products of the LLM, its head and the audio encoder.

    A frozen weight costs 2 a position forward and 2 back to its input; one that trains 2 more. Attention costs
    2 x 2 x N x width a position forward and twice that back.
    """
    from torch import nn

    text = network.llm.model.config.get_text_config()
    head = network.llm.model.get_output_embeddings()
    size, columns = shape.num_utterances, shape.num_positions
    inner = 0
    for module in network.llm.model.modules():
        if isinstance(module, nn.Linear) and module is not head:
            inner += module.weight.numel() * (6 if module.weight.requires_grad else 4)
    width = text.num_attention_heads * (getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads)
    attention = 12 * columns * width * text.num_hidden_layers
    audio = sum(weight.numel() for weight in network.audio_encoder.parameters() if weight.dim() > 1) * 6
    logits = head.weight.numel() * 4 * (shape.num_text + 1)
    return float(size * (columns * (inner + attention) + shape.num_audio * audio + logits))


def measure_training(card: Card, args: argparse.Namespace, system: str, rate: float) -> None:
    """Forward, backward and optimizer over batch sizes."""
    import torch

    from speechllama.recipe.preflight.memory import BatchShape, training_memory

    network, architecture, is_amp = build(args, system)
    network.train()
    trainable = [weight for weight in network.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-6)
    ways = [name for name in ("checkpointing", "compile") if getattr(args, name)]
    print(f"## Training, {', '.join([system, *ways])}\n")
    header = "positions utterances s/step audio_s/s positions/s text_tokens/s share peak_GB estimate_GB".split()
    print(f"| {' | '.join(header)} |\n{'|---' * len(header)}|")
    for total in map(int, args.positions.split()):
        shape = BatchShape().of_positions(total)
        batch, text, lengths = make_batch(network, shape, card.device)

        def step(batch: Any = batch, text: Any = text, lengths: Any = lengths) -> None:
            with torch.autocast(card.device, torch.bfloat16, enabled=is_amp and card.is_gpu):
                loss = network(batch, text, lengths).loss
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()

        size = shape.num_utterances
        try:
            peak, seconds = card.peak_gb(step), card.seconds(step)
        except torch.OutOfMemoryError:
            optimizer.zero_grad()
            print(f"| {size * shape.num_positions} | {size} | out of memory |||||||", flush=True)
            break
        estimate = training_memory(network, architecture, shape, is_amp).total / 1e9
        share = step_operations(network, shape) / seconds / rate
        print(
            f"| {size * shape.num_positions} | {size} | {seconds:.3f} | {size * 5 / seconds:.0f} "
            f"| {size * shape.num_positions / seconds:.0f} | {size * shape.num_text / seconds:.0f} | {share:.0%} "
            f"| {peak} | {estimate:.1f} |",
            flush=True,
        )
    print()


def measure_decoding(card: Card, args: argparse.Namespace) -> None:
    """The search over batch sizes; random weights hardly ever end, so that every utterance gets all its tokens."""
    import torch

    from speechllama.decode.beam import run_search
    from speechllama.decode.search import LLMScorer, SearchConfig
    from speechllama.recipe.preflight.memory import BatchShape

    network, _, _ = build(args, args.systems.split()[-1])
    network.eval()
    config = SearchConfig(beam_size=args.beam_size)
    print(f"## Decoding, beam {args.beam_size}, {NUM_TOKENS} tokens an utterance\n")
    print("| utterances | s/batch | real-time factor | x real time | tokens/s | peak GB |\n|---|---|---|---|---|---|")
    for size in map(int, args.decode_batches.split()):
        batch, _, _ = make_batch(network, BatchShape(num_utterances=size), card.device)
        limits = torch.full((size,), NUM_TOKENS, device=card.device)

        @torch.no_grad()
        def decode(batch: Any = batch, limits: Any = limits) -> None:
            prefix = network.embed_prefix(batch)
            scorer = LLMScorer(network.llm, prefix, network.config.prefix_mask)
            run_search(scorer, limits, -2, config)  # -2: no token ends a hypothesis

        try:
            peak, seconds = card.peak_gb(decode), card.seconds(decode)
        except torch.OutOfMemoryError:
            print(f"| {size} | out of memory |||||", flush=True)
            break
        print(
            f"| {size} | {seconds:.3f} | {seconds / size / 5:.5f} | {size * 5 / seconds:.0f} "
            f"| {size * NUM_TOKENS / seconds:.0f} | {peak} |",
            flush=True,
        )
    print()


def measure_encoding(card: Card, args: argparse.Namespace, bandwidth: float) -> None:
    """The CTC encoder, and the compressor next to one pass over what it reads, logits and states."""
    import torch

    from speechllama.config import from_mapping
    from speechllama.constants import FRAME_SHIFT, NUM_MELS
    from speechllama.model.audio import Encoded
    from speechllama.model.compressor import build_compressor
    from speechllama.model.ctc_encoder import CTCEncoder, CTCEncoderConfig
    from speechllama.recipe.preflight.memory import BatchShape

    encoder_conf = read_settings(args.conf_path, "ctc")["encoder_conf"]
    config = from_mapping(CTCEncoderConfig, encoder_conf, "ctc.yaml: encoder_conf")
    shape = BatchShape().of_frames(args.frames)
    size, frames = shape.num_utterances, shape.num_frames
    encoder = CTCEncoder(config, NUM_UNITS).to(card.device).eval()
    speech = torch.randn(size, frames, NUM_MELS, device=card.device)
    lengths = torch.full((size,), frames, device=card.device)

    @torch.no_grad()
    def encode() -> Any:
        with torch.autocast(card.device, torch.bfloat16, enabled=card.is_gpu):
            return encoder(speech, lengths)

    seconds = card.seconds(encode)
    states = encode()
    # Runs of three frames, as in speech; random logits would change their mind at every frame.
    labels = torch.randint(0, NUM_UNITS, (size, states.logits.shape[1] // 3 + 1), device=card.device)
    labels = labels.repeat_interleave(3, 1)[:, : states.logits.shape[1]]
    logits = torch.rand_like(states.logits).scatter_(2, labels[:, :, None], 2.0)
    encoded = Encoded(states.hidden, logits, states.lengths)
    compressor = build_compressor("frame_average", {}, encoder.dim)
    compressing = card.seconds(lambda: compressor(encoded))
    once = (logits.nbytes + encoded.hidden.nbytes) / bandwidth
    audio = size * frames * FRAME_SHIFT
    print("## Encoding\n\n| what | s | x real time | |\n|---|---|---|---|")
    print(f"| CTC encoder, {size} x {frames * FRAME_SHIFT:.0f} s | {seconds:.4f} | {audio / seconds:.0f} | |")
    passes = f"{compressing / once:.1f} passes over memory"
    print(f"| frame_average of it | {compressing:.5f} | {audio / compressing:.0f} | {passes} |\n")


if __name__ == "__main__":
    main()
