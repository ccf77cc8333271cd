"""Find the weight and the length norm with which an LLM's score helps a system most on a set, usually dev."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging
from speechllama.text.tasks import TASKS


def get_parser() -> argparse.ArgumentParser:
    """Options."""
    parser = new_parser(__doc__)
    parser.add_argument("--config", required=True, help="YAML with rescoring_conf and, if wanted, prompt_conf")
    parser.add_argument("--llm_dir", required=True, help="prepared LLM")
    parser.add_argument("--decode_dir", required=True, help="decoded set: its n-best hypotheses are rescored")
    parser.add_argument("--data_dir", required=True, help="data directory of that set, with references and utt2lang")
    parser.add_argument("--task", choices=list(TASKS), default="st", help="what is scored: BLEU or WER")
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
    from speechllama.files import write_json
    from speechllama.report.score import pair, score_recognition, score_translation
    from speechllama.rescore.rescoring import add_llm_scores, read_rescoring_config, report_tuning, tune
    from speechllama.rescore.text_scorer import load_reader

    config, settings = read_rescoring_config(read_config(args.config), args.config)
    settings |= {"llm_dir": args.llm_dir, "task": args.task}
    nbest, data = read_nbest(args.decode_dir), read_data_dir(args.data_dir)
    references = data.table(TASKS[args.task].reference)

    def metric(texts: dict[str, str]) -> float:
        pairs = pair(texts, references, str(nbest.path))
        if args.task == "st":
            return score_translation(pairs, num_bootstrap=1).bleu
        return -score_recognition(pairs).wer

    metric(nbest.best())  # what does not fit the references is said before the LLM is loaded
    add_llm_scores(nbest, data, load_reader(settings, "cuda" if args.ngpu else "cpu", args.batch_tokens))
    write_json(args.output_file, settings | report_tuning(tune(nbest, config, metric), args.decode_dir))


if __name__ == "__main__":
    run_main(main)
