"""Write the shape files of LLM training: positions (prompt, audio, text) of each utterance, from headers only."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, pair_up, run_main
from speechllama.progress import setup_logging


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--config", required=True, help="the system's YAML; its prompt and compressor count")
    parser.add_argument("--data_dir", nargs="+", required=True, help="data directories of the cache or of features")
    parser.add_argument("--llm_dir", required=True, help="prepared LLM")
    parser.add_argument("--ctc_dir", default="", help="CTC encoder that compressed.scp must come from")
    parser.add_argument("--centroids_file", default="", help="units: what must have named them")
    parser.add_argument("--text_name", default="text", help="target: text or src_text")
    parser.add_argument("--task", default="st", choices=["st", "asr"])
    parser.add_argument("--output_file", nargs="+", required=True, help="the shape file of each")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Count."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.config import from_mapping, read_config
    from speechllama.data.ark import check_maker
    from speechllama.data.data_dir import read_data_dir
    from speechllama.data.llm_shapes import write_llm_shapes
    from speechllama.llm.files import load_tokenizer
    from speechllama.llm.record import read_llm_record
    from speechllama.model.build import expected_cache
    from speechllama.model.compressor import FIXED_RATIOS
    from speechllama.text.prompt import Prompt, PromptConfig

    settings = read_config(args.config)
    config = from_mapping(PromptConfig, settings.get("prompt_conf") or {}, f"{args.config}: prompt_conf")
    prompt = Prompt(config, args.task, load_tokenizer(*read_llm_record(args.llm_dir)))
    frames_per_vector = FIXED_RATIOS.get(str(settings.get("compressor")), 1)
    for data_dir, output_file in pair_up(args.data_dir, args.output_file, "--output_file"):
        data = read_data_dir(data_dir)
        if data.table("compressed.scp"):
            own = {**settings, "ctc_dir": args.ctc_dir, "centroids_file": args.centroids_file}
            check_maker(data.path, "compressed", expected_cache(own, args.config))
        write_llm_shapes(data, prompt, args.text_name, output_file, frames_per_vector)


if __name__ == "__main__":
    run_main(main)
