r"""Print the plan of a run, or of a table of systems, as the shell reads it.

Example:
    cd egs/mini_covost2
    python3 -m speechllama.bin.plan run . 2 --langs "de fr es" --system e5 | tr '\0' '\n'

The arguments are `run` or `table`, the directory from which the user's paths count, the number of the recipe's own
settings and that many settings, then the user's words. A table has two lists of settings, its own and those of run.sh.
A plan is a list of records (see `plan_records`): words, each ended by a zero byte. --help and the refusal of wrong
options need only the standard library; where a plan needs a package that is not there, it needs the environment. Exit
status: 0 good, 1 failed, 2 wrong usage, 3 the environment is needed and is not there yet.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from speechllama.options import UsageError, absolute_places, format_help, parse
from speechllama.recipe.options import LISTS_OF_PLACES, PLACES, Options, TableOptions, places_of_others, split_words

USAGE = "usage: plan {run|table} USER_DIR NUMBER SETTING... WORD..."
NEEDS_ENVIRONMENT = 3
HINT = "the environment is not installed yet: run tools/install.sh, or the recipe itself, which installs it"
TEMPLATE_CMD = Path(__file__).resolve().parents[2] / "egs" / "TEMPLATE" / "cmd.sh"

Records = Iterable[Sequence[str]]


def print_records(records: Records) -> None:
    """Write records: key, number of words, words."""
    words = [part for key, *rest in records for part in (key, str(len(rest)), *rest)]
    sys.stdout.buffer.write(b"".join(os.fsencode(word) + b"\0" for word in words))
    sys.stdout.flush()


def take(words: list[str]) -> list[str]:
    """Take a number, and that many words after it, off a list."""
    number = int(words.pop(0))
    taken, words[:] = words[:number], words[number:]
    return taken


def run_records(words: Sequence[str], settings: Sequence[str]) -> Records:
    """Plan a run."""
    from speechllama.recipe.plan import make_plan, plan_records

    return plan_records(make_plan(words, settings), TEMPLATE_CMD)


def plan_of_table(words: Sequence[str], own: Sequence[str], settings: Sequence[str]) -> Records:
    """Plan a table."""
    from speechllama.recipe.table import plan_table, table_records

    return table_records(plan_table(words, own, settings), TEMPLATE_CMD)


def main(cmd: Sequence[str] | None = None) -> int:
    """Print."""
    arguments = sys.argv[1:] if cmd is None else cmd
    if len(arguments) < 3:
        print(f"{USAGE}\n\n{__doc__}")
        return 0 if "--help" in arguments else 2
    what, user_dir, *words = arguments
    is_table = what == "table"
    own = take(words) if is_table else []
    settings = take(words)
    words = absolute_places(words, PLACES, Path(user_dir), LISTS_OF_PLACES)
    try:
        table_words, words_of_rows = split_words(words) if is_table else ([], words)
        options = parse(Options, words_of_rows, settings)
        if options.help:
            text = (
                format_help(parse(TableOptions, table_words, own))
                if is_table
                else format_help(options, places_of_others(options))
            )
            print_records(
                [("help", text + ("\n\nAll other options are those of run.sh (run.sh --help)." if is_table else ""))]
            )
            return 0
        try:
            print_records(plan_of_table(words, own, settings) if is_table else run_records(words, settings))
        except ModuleNotFoundError as error:
            if str(error.name).startswith("speechllama"):
                raise
            print_records([("set", "python", options.python)])
            if options.list or options.dry_run:
                print(HINT, file=sys.stderr)
            return 1 if options.list or options.dry_run else NEEDS_ENVIRONMENT
    except UsageError as error:
        print(f"{Path(os.environ.get('SCRIPT', what)).name}: {error} (--help lists the options)", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
