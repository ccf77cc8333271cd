"""A checkout of the recipes' shell with tiny configurations and a fake Python, which notes every call."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

CONFS = {
    "ctc.yaml": "ctc_units: 70  # of this size\nmax_epoch: 1\n",
    "llm.yaml": "width: 8\n",
    "train.yaml": "max_epoch: 1\n",
    "e0.yaml": "include: train.yaml\ncompressor: convolution  # trained jointly\nfreeze_encoder: false\n",
    "e1.yaml": "include: train.yaml\ncompressor: blank_removal\n",
    "e5.yaml": "include: train.yaml\ncompressor: frame_average\n",
    "e6.yaml": "include: e5.yaml\ninit_system: e5\n",
    "b1.yaml": "model: seq2seq\ntarget_units: 50\n",
    "b2.yaml": "rescore_system: b1\n",
    "b5.yaml": "rescore_system: e5\n",
    "d.yaml": "include: train.yaml\ncompressor: none\nscratch_llm: decoder\nfreeze_encoder: no\n",
    "decoder.yaml": "width: 8\n",
    "u_frozen.yaml": "include: train.yaml\ncompressor: units\ncompressor_conf: {num_clusters: 500}\n",
    "u.yaml": "include: u_frozen.yaml\ninit_system: u_frozen\n",
}
STAGES = "preflight data features tokenizer statistics ctc compress llm train lora average decode score pack".split()
DECODING = ["decode", "decode", "merge_decoded"] * 2  # in two jobs; then the control


class Checkout:
    """The shell of the project, its recipes with tiny configurations, and a fake python3."""

    def __init__(self, directory: Path, root: Path) -> None:
        self.directory = directory / "a checkout"
        self.calls_path = directory / "calls"
        self.bin = directory / "bin"
        made = shutil.ignore_patterns("venv*", "__pycache__", "conf", "data", "dump", "exp", "downloads", "*.md")
        for name in ("egs", "tools", "utils"):
            shutil.copytree(root / name, self.directory / name, ignore=made)
        package = shutil.ignore_patterns("__pycache__")
        shutil.copytree(root / "speechllama", self.directory / "speechllama", ignore=package)  # which plans
        for conf in ("mini_covost2/conf", "covost2/conf", "covost2/conf/small", "tatoeba/conf", "librispeech/conf"):
            (self.directory / "egs" / conf).mkdir(parents=True)
            for name, text in CONFS.items():
                (self.directory / "egs" / conf / name).write_text(text)
        for conf in ("covost2/conf", "covost2/conf/small", "librispeech/conf"):  # which have none of their own
            (self.directory / "egs" / conf / "llm.yaml").unlink()
        front_ends = "egs/TEMPLATE/conf/frontend"
        shutil.copytree(root / front_ends, self.directory / front_ends)
        self.bin.mkdir()
        shutil.copy(root / "test" / "fakes" / "python3", self.bin / "python3")
        self.set_cores(1)  # so that stages run in order
        self.mini = self.directory / "egs" / "mini_covost2"
        self.ctc = "exp/ctc_transcript_bpe70"

    def set_cores(self, number: int) -> None:
        """Let the machine have so many cores."""
        (self.bin / "nproc").write_text(f"#!/bin/sh\necho {number}\n")
        (self.bin / "nproc").chmod(0o755)

    def start(
        self, *arguments: str, recipe: str = "mini_covost2", cwd: Path | None = None, **environment: str
    ) -> subprocess.Popen[str]:
        """Start a recipe."""
        command = [str(self.directory / "egs" / recipe / "run.sh"), *arguments]
        path = f"{self.bin}:{os.environ['PATH']}"
        fakes = {"PATH": path, "FAKE_CALLS": str(self.calls_path), "FAKE_PYTHON": sys.executable}
        env = os.environ | fakes | {"OMP_NUM_THREADS": "1"} | environment
        pipe = subprocess.PIPE
        return subprocess.Popen(command, cwd=cwd, stdout=pipe, stderr=pipe, text=True, env=env)

    def run(
        self, *arguments: str, recipe: str = "mini_covost2", cwd: Path | None = None, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Run a recipe."""
        process = self.start(*arguments, recipe=recipe, cwd=cwd, **environment)
        output, errors = process.communicate()
        return subprocess.CompletedProcess(process.args, process.returncode, output, errors)

    def calls(self) -> list[list[str]]:
        """The entry points that ran since the last call of this method, with their arguments; see `preflights`."""
        return [call for call in self.all_calls() if call[0] != "preflight"]

    def preflights(self) -> list[list[str]]:
        """The preflights among them: what a run checks before it does anything."""
        return [call for call in self.all_calls() if call[0] == "preflight"]

    def all_calls(self) -> list[list[str]]:
        lines = self.calls_path.read_text().splitlines() if self.calls_path.exists() else []
        self.calls_path.unlink(missing_ok=True)
        return [line.split() for line in lines]


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Checkout:
    """A fresh checkout whose path has a space in it."""
    return Checkout(tmp_path, root)
