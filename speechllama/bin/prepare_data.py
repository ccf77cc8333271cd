r"""Prepare a corpus: make or find it, write data/{train,dev,test} and a report.

Example:
    python3 -m speechllama.bin.prepare_data covost2 --common_voice /data/cv-corpus-4-2019-12-10 \
        --covost2 /data/covost2 --langs "de fr" --datadir data
    python3 -m speechllama.bin.prepare_data tatoeba --help

The recipes' local/data.sh call it. A second call makes only what is missing.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from speechllama.cli import run_main
from speechllama.options import UsageError, format_help, parse
from speechllama.recipe.corpora import CORPORA


def main(cmd: Sequence[str] | None = None) -> int:
    """Prepare the corpus; return 2 for unknown options."""
    words = list(sys.argv[1:] if cmd is None else cmd)
    if not words or words[0] in ("-h", "--help"):
        print(f"usage: prepare_data CORPUS [--OPTION VALUE ...]\n\n{__doc__}\nCorpora: {', '.join(CORPORA)}")
        return 0 if words else 2
    try:
        if words[0] not in CORPORA:
            raise UsageError(f"unknown corpus {words[0]!r}, expected one of {', '.join(CORPORA)}")
        corpus = CORPORA[words[0]]
        options = parse(corpus.options, words[1:])
    except UsageError as error:
        print(f"prepare_data: {error} (--help lists the options)", file=sys.stderr)
        return 2
    if options.help:
        print(
            f"usage: prepare_data {words[0]} [--OPTION VALUE ...]\n\n{corpus.options.__doc__}\n{format_help(options)}"
        )
        return 0
    from speechllama.progress import setup_logging

    setup_logging()
    corpus.prepare(options)
    return 0


if __name__ == "__main__":
    run_main(main)
