"""What a training reads is checked before anything is built, and every fault is named."""

from __future__ import annotations

import argparse
import re
from pathlib import Path
from typing import Any

import kaldiio
import numpy as np
import pytest

from speechllama.train.data_files import check_data_files, explain_failure


@pytest.fixture
def files(tmp_path: Path) -> argparse.Namespace:
    """Options of a training on two utterances, the same for training and validation."""
    arrays = {"a": np.ones((3, 4), np.float32), "b": np.ones((2, 4), np.float32)}
    kaldiio.save_ark(str(tmp_path / "feats.ark"), arrays, scp=str(tmp_path / "feats.scp"))
    (tmp_path / "text").write_text("a one\nb two\n")
    (tmp_path / "speech_shape").write_text("a 3,4\nb 2,4\n")
    (tmp_path / "text_shape").write_text("a 1\nb 1\n")
    tables = [(str(tmp_path / "feats.scp"), "speech", "kaldi_ark"), (str(tmp_path / "text"), "text", "text")]
    shapes = [str(tmp_path / "speech_shape"), str(tmp_path / "text_shape")]
    sides: dict[str, Any] = {}
    for side in ("train", "valid"):
        sides |= {f"{side}_shape_file": shapes, f"{side}_data_path_and_name_and_type": tables}
    return argparse.Namespace(
        config="conf/ctc.yaml", batch_type="numel", fold_length=[], batch_size=2, batch_bins=10, **sides
    )


def test_whole_files_pass(files: argparse.Namespace) -> None:
    check_data_files(files)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("speech_shape", b"a 3,4\nb x\n", r"speech_shape: 1 values are no lengths such as 120,80:\s+b: 'x'"),
        ("speech_shape", b"a 3,4\nb 2,5\n", "speech_shape: utterances of different widths (4, 5)"),
        ("speech_shape", b"", "speech_shape: no utterance"),
        ("speech_shape", b"a 3,4\n\xff 2,4\n", "speech_shape:2: not UTF-8"),
        ("text_shape", b"a 1\n", r"text_shape: 1 utterances are only in it or in .*speech_shape:\s+b"),
        ("text", b"a one\n", r"text: 1 of the 2 utterances of .*speech_shape are not there.*\s+b"),
        ("feats.scp", b"a gone.ark:3\nb gone.ark:9\n", "feats.scp: names 'gone.ark', and there is no such ark"),
        (
            "feats.scp",
            b"a feats.ark:nan\nb feats.ark:9\n",
            "feats.scp: names 'feats.ark:nan', and there is no such ark",
        ),
    ],
)
def test_a_damaged_file_is_named(files: argparse.Namespace, name: str, content: bytes, message: str) -> None:
    (Path(files.train_shape_file[0]).parent / name).write_bytes(content)
    with pytest.raises(ValueError, match=message if "\\s" in message else re.escape(message)):
        check_data_files(files)


def test_settings_of_batches_that_cannot_be_are_named_with_the_yaml(files: argparse.Namespace) -> None:
    files.batch_type, files.batch_bins = "folded", 0
    with pytest.raises(ValueError, match="2 faults of the training data") as fault:
        check_data_files(files)
    assert "conf/ctc.yaml: batch_type is folded" in str(fault.value)
    assert "conf/ctc.yaml: batch_bins is 0, expected a number above 0" in str(fault.value)


def test_an_unknown_batch_type_is_named_with_the_yaml(files: argparse.Namespace) -> None:
    files.batch_type = "num"
    with pytest.raises(ValueError, match="conf/ctc.yaml: batch_type is 'num', expected one of unsorted, .*numel"):
        check_data_files(files)


def test_an_ark_that_espnet_could_not_read_is_named(files: argparse.Namespace) -> None:
    ark = Path(files.train_shape_file[0]).parent / "feats.ark"
    ark.write_bytes(ark.read_bytes()[:-10])
    explain_failure(RuntimeError("out of memory"), files)  # something else
    code = compile("raise ValueError('kaldi')", "espnet2/train/dataset.py", "exec")
    with pytest.raises(ValueError) as failure:
        exec(code, {})
    with pytest.raises(ValueError, match=r"feats.scp: b: .*feats.ark:\d+: no matrix can be read there"):
        explain_failure(failure.value, files)
