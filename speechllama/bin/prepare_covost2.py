"""Make data/{train,dev,test} and a report from Common Voice and CoVoST 2's tables (stage `data`).

Example:
    python3 -m speechllama.bin.prepare_covost2 --common_voice /data/cv-corpus-4-2019-12-10 \\
        --covost2 /data/covost2 --langs "de fr" --output_dir data
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from speechllama.cli import new_parser, run_main, str2bool
from speechllama.text.targets import DEFAULT_TARGET, TARGETS


def get_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = new_parser(__doc__)
    add = parser.add_argument
    add("--common_voice", required=True, help="folder with [cv-corpus-*/]<lang>/validated.tsv and clips, or archives")
    add("--covost2", required=True, help="folder or URL with covost_v2.<lang>_<target>.tsv or .tsv.tar.gz")
    add("--langs", required=True, help='source languages, as in "de fr zh-CN"')
    add("--target_lang", choices=list(TARGETS), default=DEFAULT_TARGET, help="language of the translations")
    add("--output_dir", required=True, help="gets train, dev, test, report.json and report.md")
    add("--work_dir", default="downloads", help="where archives are unpacked and tables downloaded")
    add("--english", choices=("none", "train", "validated"), default="none", help="English table to train with, too")
    add("--pseudo_labels", type=Path, default=None, help="TSV: lang, path, sentence, translation[, client_id]")
    add("--drop_overlap", type=str2bool, default=True, help="no training sentence that dev or test have, too")
    add("--min_duration", type=float, default=0.3, help="shortest training clip in seconds")
    add("--max_duration", type=float, default=30.0, help="longest training clip in seconds")
    add("--check_characters", type=str2bool, default=True, help="no training text unprintable or in another script")
    add("--min_chars_per_second", type=float, default=0.2, help="least text of a training clip for its audio")
    add("--max_chars_per_second", type=float, default=40.0, help="most text of a training clip for its audio")
    add("--max_bad_share", type=float, default=0.05, help="share of a language's clips that may be absent or damaged")
    add("--max_missing_share", type=float, default=0.5, help="share of CoVoST 2's rows that validated.tsv may lack")
    add("--num_threads", type=int, default=4, help="threads that read the clips' headers")
    return parser


def main(cmd: Sequence[str] | None = None) -> None:
    """Prepare the corpus."""
    args = get_parser().parse_args(cmd)
    from speechllama.corpora.covost2.files import Sources
    from speechllama.corpora.covost2.prepare import CorpusOptions, prepare_covost2
    from speechllama.data.corpus_report import log_reports
    from speechllama.progress import setup_logging
    from speechllama.text.filter import TextFilter

    setup_logging()
    options = CorpusOptions(
        english=args.english,
        pseudo_labels=args.pseudo_labels,
        drop_overlap=args.drop_overlap,
        min_duration=args.min_duration,
        max_duration=args.max_duration,
        text=TextFilter(args.check_characters, args.min_chars_per_second, args.max_chars_per_second),
        max_bad_share=args.max_bad_share,
        max_missing_share=args.max_missing_share,
        num_threads=args.num_threads,
    )
    sources = Sources(Path(args.common_voice), args.covost2, Path(args.work_dir), args.target_lang)
    log_reports(prepare_covost2(sources, args.langs.split(), args.output_dir, options))


if __name__ == "__main__":
    run_main(main)
