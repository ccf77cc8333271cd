"""The shell runs what Python plans: it knows no system, corpus, task, language or YAML, and it stays small."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from speechllama.corpora.covost2.files import COVOST2_LANGUAGES
from speechllama.frontend.front_ends import FRONT_ENDS
from speechllama.model.compressors import COMPRESSORS
from speechllama.model.encoders import ENCODERS
from speechllama.recipe.corpora import CORPORA
from speechllama.recipe.stages import STAGES
from speechllama.recipe.system import SYSTEM_KEYS, TEMPLATE_CONF
from speechllama.text.tasks import TASKS

ROOT = Path(__file__).resolve().parents[1]
RUNNER = [ROOT / "egs/TEMPLATE/speech_llama.sh", ROOT / "egs/TEMPLATE/table.sh"]
SCRIPTS = sorted([*(ROOT / "egs/TEMPLATE").glob("*.sh"), *(ROOT / "utils").glob("*.sh")])
MAX_LINES = 350  # of both together
# Names that are also options and programs of the shell, plain English in a message, or kinds of jobs.
PLAIN_WORDS = {"d", "u", "id", "tr", "it", "none", "given", "data", "cpu", "gpu", "train"}


def code_of(script: Path) -> str:
    """A script without its comments."""
    lines = script.read_text(encoding="utf-8").splitlines()
    return "\n".join(re.sub(r"(^|\s)#(\s|!).*", "", line) for line in lines)


def known_names() -> set[str]:
    """What only Python knows by name."""
    names = {*COMPRESSORS, *ENCODERS, *FRONT_ENDS, *TASKS, *CORPORA, *COVOST2_LANGUAGES, "en", *SYSTEM_KEYS}
    names |= {path.stem for path in TEMPLATE_CONF.glob("*.yaml")}
    names |= {stage.__name__ for stage in STAGES}
    return names - PLAIN_WORDS


def test_the_names_are_those_of_the_package() -> None:
    assert {"units", "frame_average", "asr", "covost2", "de", "init_system", "e6", "decode"} <= known_names()
    assert len(SCRIPTS) >= 10 and set(RUNNER) <= set(SCRIPTS)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_the_shell_holds_no_knowledge_of_systems_corpora_languages_or_yaml(script: Path) -> None:
    code = code_of(script)
    assert not re.search(r"\.ya?ml\b", code)
    words = set(re.findall(r"[A-Za-z0-9_]+", code))
    assert sorted(words & known_names()) == []


def test_the_runner_of_recipes_and_tables_stays_small() -> None:
    assert sum(len(script.read_text(encoding="utf-8").splitlines()) for script in RUNNER) < MAX_LINES


def test_comments_are_no_code(tmp_path: Path) -> None:
    script = tmp_path / "a.sh"
    script.write_text("#!/bin/bash\n# asr\necho ${#list[@]} $# # de.yaml\n  # e6\nrun st\n")
    assert code_of(script).split() == ["echo", "${#list[@]}", "$#", "run", "st"]
