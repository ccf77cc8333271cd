"""A part of a set is a data directory like any other."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.bin import take_subset
from speechllama.data.ark import merge_parts
from speechllama.data.data_dir import read_data_dir
from speechllama.data.features import make_features
from speechllama.data.validation import validate_data_dir


def test_a_subset_has_utterances_at_even_distances_and_reads_the_same_arrays(
    make_data_dir: Callable[..., Path], tmp_path: Path
) -> None:
    data, dump, part = make_data_dir("test", num=6), tmp_path / "dump", tmp_path / "dump_subset3"
    make_features(data, dump)
    whole = merge_parts(data, dump, 1)
    take_subset.main(["--data_dir", str(dump), "--output_dir", str(part), "--number", "3"])
    taken = read_data_dir(part)
    assert taken.utterances == whole.utterances[::2]
    assert taken.table("feats.scp") == {key: whole.table("feats.scp")[key] for key in taken.utterances}
    assert (part / "frontend.json").read_bytes() == (dump / "frontend.json").read_bytes()
    assert (part / "feats.1.done").is_file() and validate_data_dir(part) == []
    take_subset.main(["--data_dir", str(dump), "--output_dir", str(part), "--number", "100"])
    assert read_data_dir(part).utterances == whole.utterances
    with pytest.raises(ValueError, match="--number 0: expected at least 1"):
        take_subset.main(["--data_dir", str(dump), "--output_dir", str(part), "--number", "0"])
