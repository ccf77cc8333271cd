#!/usr/bin/env python3
"""Time of what pre-trained weights cost, on real recordings, each next to its common alternative, on one thread.

    features      states of a speech encoder         | log-mel energies
    later epoch   compressed vectors from the cache  | waveforms through front end and CTC encoder in every epoch
    training step loss on text positions             | loss on all positions (labels -100), as transformers does
    decoding      prefix once, beams share its keys  | generate() of transformers

The sides run in turn, as in tools/benchmark.py. Losses of both steps and texts of both decoders are asserted equal.
CTC encoder, its front end and the LLM are the given ones; the audio encoder between them has random weights.

    python3 tools/benchmark_pretrained.py --ctc_dir exp/ctc_NAME --llm exp/llm_NAME/model --clips DIR/*.flac
"""

from __future__ import annotations

import argparse
import itertools
import statistics
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))  # the tool also runs where the package is not installed

from speechllama.constants import SAMPLE_RATE
from speechllama.data.audio import read_audio
from speechllama.decode.search import SearchConfig, search
from speechllama.frontend.feature_format import recorded_format
from speechllama.frontend.front_ends import FeatureExtractor, choose_front_end
from speechllama.llm.config import LLMConfig
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import Prefix
from speechllama.model.audio import AudioInput, Features
from speechllama.model.build import load_ctc_encoder, read_settings
from speechllama.model.config import SpeechLlamaConfig
from speechllama.model.encoders import choose_encoder
from speechllama.model.layers import TransformerConfig
from speechllama.model.speech_llama import Batch, SpeechLlama
from tools.pairs import alternate, format_ratios

NUM_PROMPT, NUM_TEXT = 6, 40  # tokens of the prompt, and of a text of 12 s
AUDIO_ENCODER = TransformerConfig(num_layers=2, dim=128, num_heads=4, ffn_dim=512, dropout=0.0)  # of a CPU's size
PROMPT = "Here is a short story about {}.\n\n"  # an LLM has something to write after it
SUBJECTS = ("the sea", "an old clock", "two brothers", "a lighthouse", "the king", "a letter", "winter", "a small dog")


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ctc_dir", required=True, help="trained CTC encoder, whose front end is a speech encoder")
    parser.add_argument("--llm", required=True, help="directory of an LLM")
    parser.add_argument("--clips", nargs="+", required=True, help="recordings, a batch of them")
    parser.add_argument("--repeats", type=int, default=3, help="counted runs of each side, after one that is not")
    parser.add_argument("--max_tokens", type=int, default=40, help="most tokens that are written of each prompt")
    return parser


def main() -> None:
    """Print a row for each comparison."""
    args = get_parser().parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    import transformers

    waveforms = [read_audio(path) for path in args.clips]
    seconds = sum(map(len, waveforms)) / SAMPLE_RATE
    versions = f"torch {torch.__version__}, transformers {transformers.__version__}"
    print(f"{versions}, one thread, medians of {args.repeats} runs, {len(waveforms)} recordings of {seconds:.0f} s\n")
    print("| what | ours | alternative | ratio |\n|---|---|---|---|")
    extractor = recorded_format(read_settings(args.ctc_dir), args.ctc_dir).build()
    compare_features(extractor, waveforms, args.repeats)
    with tempfile.TemporaryDirectory() as folder:
        for name, path in (("the mini recipe's size", make_small_llm(folder)), (Path(args.llm).name, args.llm)):
            network = build_network(args.ctc_dir, LLM(LLMConfig(path, dtype="float32", train="lora")))
            compare_epochs(name, network, extractor, waveforms, args.repeats)
    llm = LLM(LLMConfig(args.llm, dtype="float32"))
    network = build_network(args.ctc_dir, llm)
    compare_losses(network, to_features(extractor, waveforms), args.repeats)
    for beam in (1, 4):
        compare_decoding(llm, beam, args.max_tokens, args.repeats)


def row(what: str, ours: float, other: float, ratio: str) -> None:
    """Print a line of the table; seconds."""
    print(f"| {what} | {ours:.2f} s | {other:.2f} s | {ratio} |", flush=True)


def compare_features(extractor: FeatureExtractor, waveforms: list[np.ndarray], repeats: int) -> None:
    """Real-time factors of the speech encoder and of log-mel energies."""
    energies = choose_front_end("fbank", {}).build()
    pairs = alternate(lambda: list(map(extractor, waveforms)), lambda: list(map(energies, waveforms)), repeats)
    states, log_mel = (statistics.median(side) for side in pairs)
    seconds = sum(map(len, waveforms)) / SAMPLE_RATE
    what = f"features; real-time factor {states / seconds:.4f}, of log-mel energies {log_mel / seconds:.4f}"
    row(what, states, log_mel, format_ratios(pairs.ours, pairs.other, " times the time"))


def make_small_llm(folder: str) -> str:
    """An LLM with random weights, as large as that of egs/mini_covost2."""
    from transformers import LlamaConfig, LlamaForCausalLM

    shape = LlamaConfig(
        vocab_size=1000,
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=3,
        num_attention_heads=4,
        tie_word_embeddings=False,
    )
    LlamaForCausalLM(shape).save_pretrained(folder)
    return folder


def build_network(ctc_dir: str, llm: LLM) -> SpeechLlama:
    """E5 on a trained CTC encoder; E6 if the LLM has adapters."""
    encoder = choose_encoder(read_settings(ctc_dir), ctc_dir)
    config = SpeechLlamaConfig(encoder=encoder, audio_encoder=AUDIO_ENCODER, prefix_mask="non_causal")
    return SpeechLlama(config, load_ctc_encoder(ctc_dir), llm).train()


def make_batch(llm: LLM, audio: AudioInput) -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """Audio between random prompts, and random texts with their lengths."""
    num = len(audio.lengths)
    full = torch.ones(num, dtype=torch.long)
    highest = llm.model.config.vocab_size
    prompts = torch.randint(3, highest, (num, NUM_PROMPT))
    batch = Batch(audio, prompts, full * NUM_PROMPT, torch.zeros(num, 0, dtype=torch.long), full * 0)
    return batch, torch.randint(3, highest, (num, NUM_TEXT)), full * NUM_TEXT


def to_features(extractor: FeatureExtractor, waveforms: list[np.ndarray]) -> Features:
    """Features of waveforms in one padded batch."""
    found = [torch.from_numpy(extractor(waveform)) for waveform in waveforms]
    return Features(torch.nn.utils.rnn.pad_sequence(found, batch_first=True), torch.tensor([*map(len, found)]))


def compare_epochs(
    name: str, network: SpeechLlama, extractor: FeatureExtractor, waveforms: list[np.ndarray], repeats: int
) -> None:
    """A training step of E6, from compressed vectors and from waveforms."""
    cached = network.compress(to_features(extractor, waveforms))
    batch, text, lengths = make_batch(network.llm, cached)

    def step(audio: AudioInput) -> float:
        (loss := network(batch._replace(audio=audio), text, lengths).loss).backward()
        network.zero_grad()
        return float(loss.detach())

    def from_waveforms() -> float:
        return step(to_features(extractor, waveforms))

    assert abs(step(cached) - from_waveforms()) < 1e-3, "the two steps have different losses"
    pairs = alternate(lambda: step(cached), from_waveforms, repeats)
    ours, other = (statistics.median(side) for side in pairs)
    row(f"step of a later epoch, E6, LLM: {name}", ours, other, pairs.ratio(is_faster=True))


def compare_losses(network: SpeechLlama, features: Features, repeats: int) -> None:
    """A training step of E5, with the loss on text positions, and on all."""
    llm, audio = network.llm, network.compress(features)
    batch, text, lengths = make_batch(llm, audio)

    def on_text() -> float:
        return step(network(batch, text, lengths).loss)

    def on_all() -> float:
        prefix = network.embed_prefix(batch).embeddings
        ended = torch.nn.functional.pad(text, (0, 1), value=llm.eos_token_id)
        embeddings = torch.cat((prefix, llm.embed(ended)), dim=1)
        labels = torch.cat((torch.full(prefix.shape[:2], -100), ended), dim=1)
        return step(llm.model(inputs_embeds=embeddings, labels=labels, use_cache=False).loss)

    def step(loss: torch.Tensor) -> float:
        loss.backward()
        network.zero_grad()
        return float(loss.detach())

    pairs = alternate(on_text, on_all, repeats)
    ours, other = (statistics.median(side) for side in pairs)
    num_audio = audio.vectors.shape[1]
    what = f"step of E5, loss, {len(text)} x ({NUM_PROMPT} prompt + {num_audio} audio + {NUM_TEXT} text)"
    row(what, ours, other, pairs.ratio(is_faster=False))


def compare_decoding(llm: LLM, beam: int, max_tokens: int, repeats: int) -> None:
    """The search next to generate() after prompts in words."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(llm.model.config._name_or_path)
    ids = [tokenizer(PROMPT.format(subject))["input_ids"] for subject in SUBJECTS]
    width = max(map(len, ids))
    lengths = torch.tensor([*map(len, ids)])
    with torch.no_grad():
        rows = [torch.nn.functional.pad(llm.embed(torch.tensor(row)), (0, 0, width - len(row), 0)) for row in ids]
    prefix = Prefix(torch.stack(rows), lengths)
    mask = (torch.arange(width)[None] >= (width - lengths)[:, None]).long()
    eos = llm.eos_token_id
    options = {"num_beams": beam, "do_sample": False, "max_new_tokens": max_tokens, "eos_token_id": eos}

    def ours() -> list[list[int]]:
        limits = torch.full((len(ids),), max_tokens)
        found = search(llm.eval(), prefix, limits, "causal", SearchConfig(beam_size=beam))
        return [nbest[0].tokens for nbest in found]

    @torch.no_grad()
    def other() -> list[list[int]]:
        found = llm.model.generate(inputs_embeds=prefix.embeddings, attention_mask=mask, pad_token_id=eos, **options)
        return [list(itertools.takewhile(lambda token: token != eos, row)) for row in found.tolist()]

    assert ours() == other(), "the two decoders disagree"
    pairs = alternate(ours, other, repeats)
    seconds, alternative = (statistics.median(side) for side in pairs)
    what = f"decoding, {'greedy' if beam == 1 else f'beam {beam}'}, {len(ids)} texts of {max_tokens} tokens, equal text"
    row(what, seconds, alternative, pairs.ratio(is_faster=True))


if __name__ == "__main__":
    main()
