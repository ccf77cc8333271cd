"""docs/sharing.md is followed to the letter: every command and every piece of Python in it runs, in its order."""

from __future__ import annotations

import importlib
import re
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from speechllama.constants import SAMPLE_RATE
from speechllama.options import parse
from speechllama.recipe.options import Options
from test.fake_hub import FakeHub

BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_command(line: str) -> None:
    """Run an entry point, or read the options of a recipe."""
    words = shlex.split(line)
    if words[0] == "./run.sh":
        assert parse(Options, words[1:], ["--langs", "de"]).init_adapter
        return
    assert words[:2] == ["python3", "-m"]
    assert not importlib.import_module(words[2]).main(words[3:])


def test_the_page_can_be_followed(
    root: Path, hub: FakeHub, scored: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(scored, tmp_path / "recipe/exp")
    (tmp_path / "recipe/exp/e6").rename(tmp_path / "recipe/exp/st_e6")
    soundfile.write(tmp_path / "recipe/clip.wav", np.random.default_rng(0).normal(size=SAMPLE_RATE) * 0.1, SAMPLE_RATE)
    monkeypatch.chdir(tmp_path / "recipe")
    monkeypatch.setenv("HF_TOKEN", "hf_good")
    kinds: list[str] = []
    for kind, text in BLOCK.findall((root / "docs/sharing.md").read_text(encoding="utf-8")):
        kinds.append(kind)
        if kind == "sh":
            for line in text.splitlines():
                run_command(line)
        elif kind == "python":
            found: dict[str, Any] = {}
            exec(compile(text, "docs/sharing.md", "exec"), found)
            assert any(found.get(name) is not None for name in ("llm", "translate", "commit"))
        else:
            assert kind == "yaml" and yaml.safe_load(text)
    assert (kinds.count("sh"), kinds.count("python"), kinds.count("yaml")) == (8, 4, 1)
    assert {("ORGANISATION/NAME", tag) for tag in ("v1", "v2")} <= hub.names.keys()
