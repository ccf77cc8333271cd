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

from speechllama.cli import new_parser, run_main, str2bool


def get_parser() -> argparse.ArgumentParser:
    """Build the parser."""
    parser = new_parser(__doc__)
    parser.add_argument("--data_dir", nargs="+", required=True, help="Kaldi data directories")
    parser.add_argument("--fix", action="store_true", help="sort, repair, drop unusable utterances, rebuild spk2utt")
    parser.add_argument("--max_shown", type=int, default=10, help="faults shown of each kind; 0 shows all")
    parser.add_argument(
        "--allow_commands",
        type=str2bool,
        default=False,
        help="commands in wav.scp (a line that ends in |) are no fault",
    )
    parser.add_argument(
        "--num_headers", type=int, default=2000, help="recordings that utt2dur is compared with; 0: all, as --fix does"
    )
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Validate; 0 when there is no fault (left)."""
    args = get_parser().parse_args(cmd)
    status = max(validate(data_dir, args) for data_dir in args.data_dir)
    warn_of_reports(args.data_dir)
    return status


def warn_of_reports(data_dirs: Sequence[str]) -> None:
    """Print what is odd about the report.json next to the directories: it is read only after all training."""
    from pathlib import Path

    from speechllama.data.corpus_report import check_report
    from speechllama.data.scanned_table import scan_table

    kept: dict[Path, dict[str, int]] = {}
    for data_dir in map(Path, data_dirs):
        if (data_dir / "utt2spk").is_file():
            kept.setdefault(data_dir.parent, {})[data_dir.name] = len(scan_table(data_dir / "utt2spk").values)
    for folder, counts in kept.items():
        for warning in check_report(folder / "report.json", counts):
            print(f"WARNING {warning}", file=sys.stderr)


def validate(data_dir: str, args: argparse.Namespace) -> int:
    """Print the faults of one directory; 0 when there is none (left)."""
    from speechllama.data.durations_check import Checks
    from speechllama.data.validation import examine, fix_data_dir

    checks = Checks(args.allow_commands, args.num_headers)
    if args.fix:
        repairs = fix_data_dir(data_dir, checks)
        for did, counts in (("dropped", repairs.dropped), ("repaired", repairs.repaired)):
            for reason, count in counts.items():
                print(f"{data_dir}: {did} {count:,}: {reason}", file=sys.stderr)
    findings = examine(data_dir, checks)
    shown: Counter[str] = Counter()
    for fault in findings.faults:
        shown[fault.kind] += 1
        if not args.max_shown or shown[fault.kind] <= args.max_shown:
            print(fault, file=sys.stderr)
    for note in findings.notes:
        print(f"{data_dir}: {note}", file=sys.stderr)
    kinds = "".join(f"; {count:,} {kind}" for kind, count in shown.items())
    faults = len(findings.faults)
    print(f"{data_dir}: {f'{faults:,} faults' if faults else 'ok'}{kinds}", file=sys.stderr)
    return int(bool(faults))


if __name__ == "__main__":
    run_main(main)
