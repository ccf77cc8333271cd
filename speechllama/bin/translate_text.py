r"""Translate the transcripts of a decoded set with an LLM: the second half of a cascade.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.translate_text --config ../TEMPLATE/conf/cascade.yaml --llm_dir exp/llm \
        --transcript_dir exp/asr_ctc/decode_test_beam1 --data_dir dump/test \
        --output_dir exp/st_cascade/decode_test_beam4
"""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Sequence

from speechllama.bin.decode import add_search_options, given_search
from speechllama.cli import add_conf_path, new_parser, run_main
from speechllama.progress import setup_logging
from speechllama.text.targets import TARGETS
from speechllama.text.tasks import DEFAULT_TASK, TASKS


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument(
        "--config", required=True, help="the cascade's YAML; its prompt_conf replaces --prompt_config's"
    )
    add_conf_path(parser)
    parser.add_argument("--prompt_config", default="", help="YAML whose prompt_conf all systems share")
    parser.add_argument("--llm_dir", required=True, help="prepared LLM")
    parser.add_argument("--transcript_dir", required=True, help="decoded set of transcripts: text and decode.json")
    parser.add_argument("--data_dir", required=True, help="data directory of that set")
    parser.add_argument("--output_dir", required=True, help="where nbest.jsonl, text and decode.json go")
    parser.add_argument("--task", choices=list(TASKS), default=DEFAULT_TASK, help="whose prompt is used")
    parser.add_argument("--target_lang", choices=list(TARGETS), help="language of translations, if not the YAML's")
    parser.add_argument("--batch_size", type=int, default=16, help="texts at once")
    add_search_options(parser)
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Translate."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.config import read_config
    from speechllama.data.data_dir import read_data_dir
    from speechllama.decode.search_config import SearchConfig
    from speechllama.decode.text_translator import TranscriptsJob, load_text_translator, translate_transcripts
    from speechllama.text.prompt import prompt_conf_of

    shared = read_config(args.prompt_config, args.conf_path).get("prompt_conf") if args.prompt_config else None
    own = read_config(args.config, args.conf_path).get("prompt_conf")
    target = {"target": args.target_lang} if args.target_lang else {}
    conf = prompt_conf_of({**target, **(shared or {}), **(own or {})}, args.task, f"{args.config}: prompt_conf")
    values = {name: value for name, value in given_search(args).items() if name != "ctc_weight"}
    search = SearchConfig(**values)
    translator = load_text_translator(args.llm_dir, conf, args.task, search, "cuda" if args.ngpu else "cpu")
    words = ["python3", "-m", "speechllama.bin.translate_text", *(sys.argv[1:] if cmd is None else cmd)]
    data, command = read_data_dir(args.data_dir), shlex.join(words)
    job = TranscriptsJob(args.transcript_dir, data, args.output_dir, args.batch_size, command)
    translate_transcripts(translator, job)


if __name__ == "__main__":
    run_main(main)
