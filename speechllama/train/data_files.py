"""The files that a training reads, checked before anything is built: ESPnet would stop at them with a traceback.

shape files, tables -> nothing, or every fault with the file's name
"""

from __future__ import annotations

import argparse
import traceback
from collections.abc import Sequence
from pathlib import Path

from speechllama.data.ark import read_features
from speechllama.faults import InputError, first_ten, raise_all
from speechllama.files import read_table

ARK = "kaldi_ark"  # ESPnet's type of a table whose values are places in an ark
DATASET = "espnet2/train/dataset.py"  # in the traceback of what ESPnet cannot read
SIDES = ("train", "valid")
BATCH_TYPES = ("unsorted", "sorted", "folded", "length", "numel")  # of ESPnet
FOLDED = "folded"  # ESPnet's default batch_type, which needs a fold_length for each shape file


def check_data_files(args: argparse.Namespace) -> None:
    """Check the shape files and tables of a training.

    Args:
        args: Its options, as ESPnet's parser gives them.

    Raises:
        FileNotFoundError: A table, shape file or ark is missing.
        ValueError: Shape files hold no lengths or differ in their utterances, a table lacks some of them, or the
            settings of batches do not fit the files.
    """
    faults: list[str] = []
    for side in SIDES:
        shape_files = [*getattr(args, f"{side}_shape_file")]
        utterances = _check_shapes(shape_files, faults)
        for path, _, kind in getattr(args, f"{side}_data_path_and_name_and_type"):
            _check_table(path, kind == ARK, utterances, faults)
        if args.batch_type == FOLDED and len(args.fold_length) != len(shape_files):
            faults.append(
                f"{args.config}: batch_type is {FOLDED} (ESPnet's default), which needs a fold_length for each of the "
                f"{len(shape_files)} shape files; write batch_type: numel, or look whether the file was cut"
            )
    if args.batch_type not in BATCH_TYPES:
        known = ", ".join(BATCH_TYPES)
        faults.append(f"{args.config}: batch_type is {args.batch_type!r}, expected one of {known}")
    for name in ("batch_size", "batch_bins"):
        if getattr(args, name) < 1:
            faults.append(f"{args.config}: {name} is {getattr(args, name)}, expected a number above 0")
    raise_all(faults, "training data")


def _check_shapes(paths: Sequence[str], faults: list[str]) -> dict[str, str]:
    """Check that shape files hold lengths of the same utterances; their utterances, with the file that names them."""
    first: dict[str, str] = {}
    for path in paths:
        table = read_table(path)
        wrong = [f"{utt}: {value!r}" for utt, value in table.items() if not _is_shape(value)]
        widths = {value.partition(",")[2] for value in table.values()} if not wrong else set()
        if not table:
            faults.append(f"{path}: no utterance; run the stage that writes it again")
        if wrong:
            faults.append(f"{path}: {len(wrong):,} values are no lengths such as 120,80:{first_ten(wrong)}")
        if len(widths) > 1:
            faults.append(f"{path}: utterances of different widths ({', '.join(sorted(widths)[:3])}); write it again")
        differing = sorted(table.keys() ^ first.keys()) if first else []
        if differing:
            faults.append(
                f"{path}: {len(differing):,} utterances are only in it or in {paths[0]}:{first_ten(differing)}"
            )
        first = first or dict.fromkeys(table, path)
    return first


def _is_shape(value: str) -> bool:
    """Whether a value is lengths above 0, separated by commas."""
    return all(part.isascii() and part.isdigit() and int(part) > 0 for part in value.split(","))


def _check_table(path: str, is_ark: bool, utterances: dict[str, str], faults: list[str]) -> None:
    """Check that a table has every utterance, and that the arks that it names are there."""
    table = read_table(path)
    missing = [utt for utt in utterances if utt not in table]
    if missing:
        shapes = next(iter(utterances.values()))
        faults.append(
            f"{path}: {len(missing):,} of the {len(utterances):,} utterances of {shapes} are not there; run the stage "
            f"that writes it again:{first_ten(missing)}"
        )
    if is_ark:
        arks = dict.fromkeys(_ark_of(value) for value in table.values())
        faults += [f"{path}: names {ark!r}, and there is no such ark" for ark in arks if not Path(ark).is_file()]


def _ark_of(value: str) -> str:
    """The file of a place in an ark."""
    ark, _, offset = value.rpartition(":")
    return ark if offset.isdigit() else value


def explain_failure(error: Exception, args: argparse.Namespace) -> None:
    """Find out what could not be read, if ESPnet's dataset has failed, in this process or in a loader's.

    Args:
        error: What a training ended with.
        args: Its options.

    Raises:
        ValueError: An ark is damaged; the message names table, utterance and place.
    """
    if isinstance(error, InputError) or DATASET not in "".join(traceback.format_exception(error)):
        return
    for side in SIDES:
        for path, _, kind in getattr(args, f"{side}_data_path_and_name_and_type"):
            for utterance, place in read_table(path).items() if kind == ARK else ():
                read_features(place, f"{path}: {utterance}")
