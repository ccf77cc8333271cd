"""Estimate the GPU memory of training and decoding for LLMs and batches, without a GPU or weights.

Example:
    python3 -m speechllama.bin.estimate_memory --recipe egs/covost2 --llms egs/covost2/conf/llm/llama_7b.json
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path

from speechllama.cli import new_parser, run_main
from speechllama.constants import DEFAULT_FRONT_END


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--recipe", required=True, help="recipe whose ctc.yaml and systems are meant")
    parser.add_argument("--size", default="", help="as that of run.sh")
    parser.add_argument("--systems", default="e5 e6", help="names of systems")
    parser.add_argument("--llms", nargs="+", required=True, help="config.json files, directories or hub ids")
    parser.add_argument("--positions", default="2048 4096 8192", help="LLM positions of a batch on one GPU")
    parser.add_argument("--decode_batch", type=int, default=16, help="utterances decoded together")
    parser.add_argument("--beam_size", type=int, default=4)
    parser.add_argument("--frontend", default=DEFAULT_FRONT_END, help="as that of run.sh")
    parser.add_argument("--frontend_path", default="", help="as that of run.sh")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Print the table, in GB."""
    args = get_parser().parse_args(cmd)
    from speechllama.markdown import format_table
    from speechllama.model.encoders import choose_encoder
    from speechllama.model.meta_model import EncoderShape, meta_speech_llama, read_architecture
    from speechllama.recipe.front_end import select_front_end
    from speechllama.recipe.preflight.front_end import front_end_memory, front_end_weights
    from speechllama.recipe.preflight.memory import BatchShape, decoding_memory, training_memory
    from speechllama.recipe.preflight.run import BuiltFrontEnd, read_settings
    from speechllama.recipe.system import CONF, ConfFolders, is_distilled

    folders = ConfFolders(args.size, Path(args.recipe) / CONF)
    ctc = folders.read("ctc")
    built = BuiltFrontEnd.build(select_front_end(args.frontend, args.frontend_path, folders).choice)
    features, typical = built.features.shape, BatchShape.of_features(built.features.shape)
    encoder = EncoderShape(choose_encoder(ctc.settings, ctc.path), int(ctc.settings["ctc_units"]), features)
    sizes = [int(total) for total in args.positions.split()]
    rows = []
    for path in args.llms:
        architecture = read_architecture(path)
        for system in args.systems.split():
            config = folders.read(system)
            settings = {**read_settings(config, "", "system"), **dataclasses.asdict(built.features)}
            network = meta_speech_llama(settings, config.path, architecture, encoder)
            is_amp, trains_encoder = bool(settings.get("use_amp", False)), not network.config.freeze_encoder
            cells = []
            for shape in (typical.of_positions(total) for total in sizes):
                front_end = front_end_memory(built.trained, shape, is_amp, trains_encoder)
                memory = training_memory(network, architecture, shape, is_amp, is_distilled(settings))
                cells.append(memory.plus(front_end).total)
            decoded = dataclasses.replace(typical, num_utterances=args.decode_batch)
            decoding = decoding_memory(network, architecture, decoded, args.beam_size)
            cells.append(decoding.plus(front_end_weights(built.trained)).total)
            name = Path(path).stem if Path(path).is_file() else Path(path).name
            rows.append([name, system, *(f"{cell / 1e9:.0f}" for cell in cells)])
    header = ["LLM", "system", *(f"{total:,} positions" for total in sizes)]
    print(format_table([*header, f"decoding {args.decode_batch}, beam {args.beam_size}"], rows), end="")


if __name__ == "__main__":
    run_main(main)
