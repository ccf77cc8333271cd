"""Check data directories and name every fault with file, line and value; --fix repairs what it can.

Example, in the directory of a recipe:
    python3 -m speechllama.bin.validate_data_dir --data_dir data/train data/dev data/test
    python3 -m speechllama.bin.validate_data_dir --data_dir data/train --fix
"""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from speechllama.cli import new_parser, run_main


def get_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_dir", nargs="+", required=True, help="Kaldi data directories")
    parser.add_argument("--fix", action="store_true", help="sort, drop unusable utterances, rebuild spk2utt")
    parser.add_argument("--max_shown", type=int, default=10, help="faults shown of each kind; 0 shows all")
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Validate; 0 when there is no fault (left)."""
    args = get_parser().parse_args(cmd)
    return max(validate(data_dir, args.fix, args.max_shown) for data_dir in args.data_dir)


def validate(data_dir: str, fix: bool, max_shown: int) -> int:
    """Print the faults of one directory; 0 when there is none (left)."""
    from speechllama.data.validation import fix_data_dir, validate_data_dir

    if fix:
        for reason, count in fix_data_dir(data_dir).items():
            print(f"{data_dir}: dropped {count:,}: {reason}", file=sys.stderr)
    faults = validate_data_dir(data_dir)
    shown: Counter[str] = Counter()
    for fault in faults:
        shown[fault.kind] += 1
        if not max_shown or shown[fault.kind] <= max_shown:
            print(fault, file=sys.stderr)
    counts = "".join(f"; {count:,} {kind}" for kind, count in shown.items())
    print(f"{data_dir}: {f'{len(faults):,} faults' if faults else 'ok'}{counts}", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    run_main(main)
