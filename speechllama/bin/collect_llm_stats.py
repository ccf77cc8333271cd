r"""Write the shape files of LLM training: the LLM positions of each utterance, counted from headers.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.collect_llm_stats --config conf/e0.yaml --conf_path conf:../TEMPLATE/conf \
        --llm_dir exp/llm --data_dir dump/train dump/dev --output_file exp/st_e0/llm_stats/train exp/st_e0/llm_stats/dev
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import add_conf_path, new_parser, pair_up, run_main
from speechllama.progress import setup_logging
from speechllama.text.targets import TARGETS
from speechllama.text.tasks import DEFAULT_TASK, TASKS


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--config", required=True, help="the system's YAML; its prompt and compressor count")
    add_conf_path(parser)
    parser.add_argument("--data_dir", nargs="+", required=True, help="data directories of the cache or of features")
    parser.add_argument("--llm_dir", required=True, help="prepared LLM")
    parser.add_argument("--ctc_dir", default="", help="CTC encoder that compressed.scp must come from")
    parser.add_argument("--centroids_file", default="", help="units: what must have named them")
    parser.add_argument("--text_name", default="", help="table of targets, if not the task's own")
    parser.add_argument("--task", default=DEFAULT_TASK, choices=list(TASKS), help="whose prompt is the default")
    parser.add_argument("--target_lang", choices=list(TARGETS), help="language of translations, if not the YAML's")
    parser.add_argument("--output_file", nargs="+", required=True, help="the shape file of each")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Count."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.config import from_mapping, read_config
    from speechllama.data.ark import check_maker
    from speechllama.data.data_dir import read_data_dir
    from speechllama.data.llm_shapes import PositionCounter, check_separator, write_llm_shapes
    from speechllama.frontend.feature_format import read_format
    from speechllama.llm.context import read_context
    from speechllama.llm.files import load_tokenizer
    from speechllama.llm.record import read_llm_record
    from speechllama.model.build import choose_compressor, expected_cache, read_settings
    from speechllama.model.encoders import choose_encoder
    from speechllama.text.prompt import PromptConfig, make_prompts, prompt_conf_of
    from speechllama.train.distillation import TRANSCRIPT_TABLE, read_distillation

    settings = read_config(args.config, args.conf_path)
    prompt_conf = {**(settings.get("prompt_conf") or {}), **({"target": args.target_lang} if args.target_lang else {})}
    where = f"{args.config}: prompt_conf"
    config = from_mapping(PromptConfig, prompt_conf_of(prompt_conf, args.task, where), where)
    llm = read_llm_record(args.llm_dir)
    prompts = make_prompts(config, args.task, load_tokenizer(*llm))
    is_new = bool((settings.get("llm_conf") or {}).get("random_weights"))
    # A frozen encoder is what stage ctc made, whatever the system's YAML says.
    made = read_settings(args.ctc_dir) if args.ctc_dir else settings
    encoder = choose_encoder(made, args.ctc_dir or args.config).record
    frames_per_vector = choose_compressor(settings, args.config).record.frames_per_vector or 1

    def num_vectors(frames: int) -> int:
        return -(-encoder.num_frames(frames, shift) // frames_per_vector)

    distill = read_distillation(settings, TASKS[args.task], args.config)
    transcript = TRANSCRIPT_TABLE if distill.weight else ""
    counter = PositionCounter(prompts, num_vectors, read_context(*llm, is_new), args.text_name, transcript)
    check_separator(counter.prompt, TASKS[args.task])
    for data_dir, output_file in pair_up(args.data_dir, args.output_file, "--output_file"):
        data, shift = read_data_dir(data_dir), read_format(data_dir).frame_shift
        if data.table("compressed.scp"):
            own = {**settings, "ctc_dir": args.ctc_dir, "centroids_file": args.centroids_file}
            check_maker(data.path, "compressed", expected_cache(own, args.config))
        write_llm_shapes(data, counter, output_file)


if __name__ == "__main__":
    run_main(main)
