r"""Find the weight and the length norm of an LLM's score that help a system most, usually on dev.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.tune_rescoring --config ../TEMPLATE/conf/b2.yaml --llm_dir exp/llm \
        --data_dir dump/dev --decode_dir exp/st_b1/decode_dev_beam4 --output_file exp/st_b2/rescoring_beam4.json
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import add_conf_path, new_parser, run_main
from speechllama.progress import setup_logging
from speechllama.text.targets import DEFAULT_TARGET, TARGETS
from speechllama.text.tasks import DEFAULT_TASK, TASKS


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML with rescoring_conf and, if wanted, prompt_conf")
    add_conf_path(parser)
    parser.add_argument("--prompt_config", help="YAML with prompts for a system that has none, as an encoder-decoder")
    parser.add_argument("--llm_dir", required=True, help="prepared LLM")
    parser.add_argument("--decode_dir", required=True, help="decoded set: its n-best hypotheses are rescored")
    parser.add_argument("--data_dir", required=True, help="data directory of that set, with references and utt2lang")
    parser.add_argument("--task", choices=list(TASKS), default=DEFAULT_TASK, help="st ranks by BLEU, asr by WER")
    parser.add_argument("--target_lang", choices=list(TARGETS), default=DEFAULT_TARGET, help="language of translations")
    parser.add_argument("--output_file", required=True, help="settings for rescore, and all that was tried (JSON)")
    parser.add_argument("--batch_tokens", type=int, default=8192, help="LLM positions at once")
    parser.add_argument("--ngpu", type=int, default=0, help="1 uses a GPU")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Tune."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.config import read_config
    from speechllama.data.data_dir import read_data_dir
    from speechllama.decode.nbest import read_nbest
    from speechllama.decode.text_scorer import load_text_scorer
    from speechllama.files import write_json
    from speechllama.report.decoded_set import rank, read_targets
    from speechllama.report.score import pair
    from speechllama.rescore.rescoring import (
        add_llm_scores,
        read_rescoring_config,
        recorded_prompts,
        report_tuning,
        tune,
    )
    from speechllama.text.prompt import prompt_conf_of

    config, settings = read_rescoring_config(read_config(args.config, args.conf_path), args.config)
    settings |= {"llm_dir": args.llm_dir, "task": args.task}
    shared = read_config(args.prompt_config, args.conf_path) if args.prompt_config else {}
    own = prompt_conf_of(settings["prompt_conf"], args.task, f"{args.config}: prompt_conf")
    shared = prompt_conf_of(shared.get("prompt_conf") or {}, args.task, f"{args.prompt_config}: prompt_conf")
    settings["prompt_conf"] = {"target": args.target_lang, **(recorded_prompts(args.decode_dir) or shared), **own}
    nbest, data = read_nbest(args.decode_dir), read_data_dir(args.data_dir)
    languages = data.table("utt2lang")
    task = TASKS[args.task].ranked_for({*languages.values()})
    references = task.texts_of(data.table(task.reference))
    targets = read_targets(args.data_dir, references, args.target_lang)

    def metric(texts: dict[str, str]) -> float:
        return rank(pair(texts, references, str(nbest.path), languages), task, targets)

    if task.is_translation and len({*targets.values()}) > 1:
        settings["tuned_by"] = "chrF over all target languages"
    metric(nbest.best())  # what does not fit the references is said before the LLM is loaded
    add_llm_scores(nbest, data, load_text_scorer(settings, "cuda" if args.ngpu else "cpu", args.batch_tokens))
    write_json(args.output_file, settings | report_tuning(tune(nbest, config, metric), args.decode_dir))


if __name__ == "__main__":
    run_main(main)
