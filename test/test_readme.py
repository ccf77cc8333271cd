"""README names what is there: both commands, the systems' configs, the three lines; docs/tree.md every file."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from test.recipe_configs import SIZES, load

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = ("egs/mini_covost2/run.sh", "utils/check.sh")
RECIPES = ("mini_covost2", "covost2", "tatoeba")
PAGES = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", *(f"egs/{recipe}/README.md" for recipe in RECIPES))


def test_the_tree_is_written_anew_after_a_change(root: Path) -> None:
    command = [sys.executable, str(root / "tools" / "write_tree.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_both_commands_are_on_the_first_screen_and_can_be_run(command: str) -> None:
    assert command in "\n".join(README.splitlines()[:40])
    assert os.access(ROOT / command, os.X_OK)


def test_every_system_of_the_table_has_its_config_in_each_recipe() -> None:
    systems = re.findall(r"^\| (E\d) \|.*`(e\d\.yaml)`", README, re.MULTILINE)
    assert [name for name, _ in systems] == ["E0", "E1", "E2", "E3", "E4", "E5", "E6"]
    for name, conf in systems:
        assert conf == f"{name.lower()}.yaml"
        for recipe, size in SIZES:
            assert load(recipe, size, Path(conf).stem).settings["audio_encoder_conf"]


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [link for link in links if link and not link.startswith(("http:", "https:"))]
    missing = [link for link in local if not (ROOT / page).parent.joinpath(link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_entry_points_named_on_a_page_exist(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for name in re.findall(r"-m speechllama\.bin\.([a-z]\w*)", text):
        assert (ROOT / "speechllama/bin" / f"{name}.py").is_file(), f"{page} names {name}"


def test_the_lines_of_python_call_what_the_package_has() -> None:
    code = README.split("```python\n")[1].split("```")[0]
    tree = ast.parse(code)
    assert "from speechllama import Speech2Text" in code
    source = ast.parse((ROOT / "speechllama/decode/speech2text.py").read_text(encoding="utf-8"))
    classes = {node.name: node for node in source.body if isinstance(node, ast.ClassDef)}
    methods = {node.name for node in classes["Speech2Text"].body if isinstance(node, ast.FunctionDef)}
    fields = {ast.unparse(node.target) for node in classes["Translation"].body if isinstance(node, ast.AnnAssign)}
    used = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert used == {"from_pretrained", "text"}
    assert "from_pretrained" in methods and "__call__" in methods and "text" in fields


@pytest.mark.parametrize("page", ["README.md", *PAGES[3:]])
def test_results_have_one_place_on_a_page(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert text.count("<!-- results:begin -->") == text.count("<!-- results:end -->") == 1
    assert text.index("<!-- results:begin -->") < text.index("<!-- results:end -->")


def test_the_mini_recipes_page_has_the_sizes_of_its_data_script() -> None:
    script = (ROOT / "egs/mini_covost2/local/data.sh").read_text(encoding="utf-8")
    page = (ROOT / "egs/mini_covost2/README.md").read_text(encoding="utf-8")
    sizes = {name: f"{int(value):,}" for name, value in re.findall(r"^num_(\w+)=(\d+)", script, re.MULTILINE)}
    assert f"{sizes['train']} train, {sizes['dev']} dev, {sizes['test']} test" in page
    assert f"{sizes['llm_text']} sentence pairs" in page
