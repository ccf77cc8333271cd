r"""Score a decoded set and its control: hypotheses, references -> score.json.

Translation gets BLEU (with a 95 % interval), chrF, TER and, where bin/score_comet has run, COMET; recognition WER and
CER; labels accuracy: over all utterances and per language.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.score --hyp_dir exp/st_e6/decode_test_beam4 --data_dir dump/test \
        --control_dir exp/st_e6/decode_test_beam4_control --corpus_report data/report.json
    python3 -m speechllama.bin.score --task asr --hyp_dir exp/asr_e6/decode_test_beam4 --data_dir dump/test
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main
from speechllama.progress import setup_logging
from speechllama.text.targets import DEFAULT_TARGET, TARGETS
from speechllama.text.tasks import DEFAULT_TASK, TASKS


def get_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = new_parser(__doc__)
    parser.add_argument("--hyp_dir", required=True, help="decoding directory with text (and decode.json)")
    parser.add_argument("--control_dir", help="decoding directory of the control, each with another's audio")
    parser.add_argument("--data_dir", required=True, help="data directory with the references and utt2lang")
    parser.add_argument("--corpus_report", help="report.json of stage `data`, to count what it dropped of the set")
    parser.add_argument("--task", choices=list(TASKS), default=DEFAULT_TASK, help="what was decoded")
    parser.add_argument("--target_lang", choices=list(TARGETS), default=DEFAULT_TARGET, help="language of translations")
    parser.add_argument("--bleu_tokenizer", default="", help="of sacreBLEU; empty: that of the target language")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Score and write score.json."""
    args = get_parser().parse_args(cmd)
    setup_logging()
    from speechllama.files import write_json
    from speechllama.report.decoded_set import DecodedSet, format_report, score_decoded_set, score_path

    decoded = DecodedSet(args.hyp_dir, args.data_dir, args.control_dir, args.corpus_report, args.bleu_tokenizer)
    report = score_decoded_set(decoded, args.task, args.target_lang)
    write_json(score_path(args.hyp_dir), report)
    logging.info("%s", format_report(report))
    if "warning" in report:
        logging.warning("%s: %s", args.hyp_dir, report["warning"])


if __name__ == "__main__":
    run_main(main)
