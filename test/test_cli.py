"""What entry points share: exit statuses and messages."""

from __future__ import annotations

import argparse
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.cli import mapping, new_parser, pair_up, run_main, str2bool
from speechllama.faults import InputError, MissingFileError

ENTRY_POINTS = sorted(
    path.stem for path in (Path(__file__).resolve().parents[1] / "speechllama" / "bin").glob("[!_]*.py")
)
# Packages that take a tenth of a second or more to import.
HEAVY = {
    *("torch", "torchaudio", "transformers", "tokenizers", "peft", "accelerate", "huggingface_hub", "safetensors"),
    *("espnet", "espnet2", "librosa", "scipy", "sklearn", "numpy", "matplotlib", "sacrebleu", "jiwer"),
    *("soundfile", "sentencepiece", "kaldiio", "kaldi_native_fbank", "espeakng_loader"),
}
DATA_ENTRY_POINTS = (
    "validate_data_dir",
    "make_features",
    "merge_parts",
    "train_tokenizer",
    "collect_stats",
)


@pytest.mark.parametrize(("result", "status"), [(None, 0), (0, 0), (1, 1)])
def test_the_result_is_the_exit_status(result: int | None, status: int) -> None:
    with pytest.raises(SystemExit) as caught:
        run_main(lambda: result)
    assert caught.value.code == status


@pytest.mark.parametrize("error", [InputError("bad x"), MissingFileError("bad x"), PermissionError("bad x")])
def test_a_wrong_input_gives_its_message_and_status_1(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        run_main(_raiser(error))
    assert caught.value.code == 1
    assert capsys.readouterr().err == "ERROR: bad x\n"


@pytest.mark.parametrize("error", [KeyError("ours"), ValueError("too many values to unpack"), RuntimeError("ours")])
def test_a_fault_of_the_program_or_a_library_keeps_its_traceback(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        run_main(_raiser(error))
    assert caught.value.code == 1
    *trace, summary, last = capsys.readouterr().err.rstrip("\n").split("\n")
    assert trace[0] == "Traceback (most recent call last):" and "    raise error" in trace
    assert summary == f"FAULT: {type(error).__name__}: {error}"
    assert last.startswith("This is a fault of the program or of a library. Please report it with the traceback above")
    assert f"python {platform.python_version()}, " in last and "torch " in last


def _raiser(error: Exception) -> Callable[[], None]:
    def main() -> None:
        raise error

    return main


@pytest.mark.parametrize(("value", "expected"), [("true", True), ("False", False), ("1", True), ("no", False)])
def test_booleans_are_read(value: str, expected: bool) -> None:
    assert str2bool(value) is expected


def test_other_words_are_no_booleans() -> None:
    with pytest.raises(argparse.ArgumentTypeError, match="'maybe'"):
        str2bool("maybe")


def test_each_input_has_its_output() -> None:
    assert pair_up(["data/dev", "data/test"], ["dump/dev", "dump/test"], "--output_dir") == [
        ("data/dev", "dump/dev"),
        ("data/test", "dump/test"),
    ]
    with pytest.raises(ValueError, match="--output_dir: 1 given, expected one for each of 2: data/dev data/test"):
        pair_up(["data/dev", "data/test"], ["dump/dev"], "--output_dir")


def test_shortened_options_are_refused() -> None:
    parser = new_parser("doc")
    parser.add_argument("--output_dir")
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--output", "x"])
    assert caught.value.code == 2


def test_the_default_is_in_the_help() -> None:
    parser = new_parser("doc")
    parser.add_argument("--num_jobs", default=7, help="parts")
    assert "default: 7" in parser.format_help()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="a device that is always full is needed")
def test_a_full_disk_is_said_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    def write() -> None:
        with open("/dev/full", "w") as stream:
            stream.write("x")

    with pytest.raises(SystemExit) as caught:
        run_main(write)
    assert caught.value.code == 1
    assert "the disk or its quota is full; what is finished is kept" in capsys.readouterr().err


@pytest.mark.parametrize("name", ENTRY_POINTS)
def test_help_imports_nothing_heavy(name: str, root: Path) -> None:
    code = (
        "import runpy, sys\n"
        f"sys.argv = [{name!r}, '--help']\n"
        "try:\n"
        f"    runpy.run_module('speechllama.bin.{name}', run_name='__main__')\n"
        "finally:\n"
        "    print(*sys.modules, file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("usage:")
    loaded = {module.partition(".")[0] for module in done.stderr.split()}
    assert not loaded & HEAVY


@pytest.mark.parametrize("name", DATA_ENTRY_POINTS)
def test_a_misspelt_option_is_wrong_usage(name: str, root: Path) -> None:
    command = [sys.executable, "-m", f"speechllama.bin.{name}", "--mispelt", "x"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True)
    assert done.returncode == 2
    assert "usage:" in done.stderr


@pytest.mark.parametrize("text", ['{"num_clusters": 500}', "{num_clusters: 500}", "num_clusters: 500"])
def test_settings_on_a_command_line_are_a_mapping(text: str) -> None:
    assert mapping(text) == {"num_clusters": 500}
    assert mapping("{}") == {}


@pytest.mark.parametrize("text", ["500", "{a", "[1]"])
def test_anything_else_than_a_mapping_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"expected settings such as .*, found"):
        mapping(text)
