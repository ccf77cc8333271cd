"""README and docs name what is there: commands, systems, scores, links; docs/tree.md names every file."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from speechllama.corpora.mini.options import MiniOptions
from tools import write_tree

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = ("egs/mini_covost2/run.sh", "utils/check.sh")
RECIPES = ("mini_covost2", "covost2", "librispeech", "tatoeba")
RECIPE_PAGES = ("README.md", "RESULTS.md")  # of every recipe; a LOG.md begins with its first experiment
TREE = "docs/tree.md"
PAGES = sorted(
    str(path.relative_to(ROOT))
    for pattern in ("*.md", "docs/*.md", "egs/*/*.md")
    for path in ROOT.glob(pattern)
    if str(path.relative_to(ROOT)) != TREE
)
# Where a system's YAML may be, from egs/: one that recipes share, or a recipe's own.
CONFS = {
    "mini_covost2": ("mini_covost2/conf", "TEMPLATE/conf"),
    "covost2": ("covost2/conf", "TEMPLATE/conf"),
    "tatoeba": ("tatoeba/conf", "TEMPLATE/conf"),
    "librispeech": ("librispeech/conf", "TEMPLATE/conf"),
}
SYSTEM_ROW = re.compile(r"^\| (\w+) \|.*\| `(\w+\.yaml)` \| (.*) \| (.*) \|$", re.MULTILINE)
SIGNATURE = "nrefs:1|bs:1000|seed:12345|case:mixed|eff:no|tok:13a|smooth:exp|version:"
WER_SIGNATURE = "WER|unit:white-space-word|case:mixed|punct:kept|norm:none|space:collapsed|jiwer:"


def anchors(page: Path) -> set[str]:
    """Anchors that GitHub gives to the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_readme_stays_short() -> None:
    assert len(README.splitlines()) <= 160


def test_the_tree_is_written_anew_after_a_change(root: Path) -> None:
    command = [sys.executable, str(root / "tools" / "write_tree.py"), "--check"]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr


def test_a_recipe_that_the_tree_does_not_list_is_its_users_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = ("egs/mine/run.sh", "egs/TEMPLATE/cmd.sh", "tools/install.sh")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("#!/usr/bin/env bash\n# What it does\n")
    listed = [tmp_path / name for name in names]
    monkeypatch.setattr(write_tree, "ROOT", tmp_path)
    monkeypatch.setattr(write_tree, "PAGE", tmp_path / "docs/tree.md")
    monkeypatch.setattr(write_tree, "list_files", lambda: iter(listed))
    page = write_tree.format_tree(listed[1:])
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/tree.md").write_text(page, encoding="utf-8")
    assert [write_tree.is_unlisted(path, page) for path in listed] == [True, False, False]
    assert write_tree.main(["--check"]) == 0
    (tmp_path / "tools/new.sh").write_text("# Another one\n")
    listed.append(tmp_path / "tools/new.sh")
    assert write_tree.main(["--check"]) == 1, "a file of a folder that is listed must be on the page"


@pytest.mark.parametrize("command", COMMANDS)
def test_both_commands_are_on_the_first_screen_and_can_be_run(command: str) -> None:
    assert command in "\n".join(README.splitlines()[:40])
    assert os.access(ROOT / command, os.X_OK)


def test_every_system_of_the_table_has_its_config_in_each_recipe() -> None:
    systems = [(name, conf) for name, conf, _, _ in SYSTEM_ROW.findall(README)]
    assert [name for name, _ in systems] == ["B1", "B2", "E0", "E1", "E2", "E3", "E4", "E5", "E6", "D", "U"]
    for name, conf in systems:
        assert conf == f"{name.lower()}.yaml"
        for recipe, folders in CONFS.items():
            assert any((ROOT / "egs" / folder / conf).exists() for folder in folders), f"{recipe} has no {conf}"


def test_the_scores_of_the_table_are_those_of_the_mini_recipes_results() -> None:
    results = (ROOT / "egs/mini_covost2/RESULTS.md").read_text(encoding="utf-8")
    cells = [[cell.strip() for cell in row.split("|")[1:-1]] for row in results.splitlines() if row.startswith("|")]
    header = next(row for row in cells if row[:3] == ["row", "parameters", "BLEU"])
    rows = {row[0]: dict(zip(header, row, strict=True)) for row in cells if len(row) == len(header)}
    for name, _, bleu, control in SYSTEM_ROW.findall(README):
        row = rows[name.lower()]  # "mean (least to greatest) [interval]", the control "mean (least to greatest)"
        assert bleu == re.sub(r" \(.*?\)", "", row["BLEU"])
        assert control == row["control"].split()[0]


@pytest.mark.parametrize("page", ["README.md", *(f"egs/{recipe}/RESULTS.md" for recipe in RECIPES)])
def test_scores_stand_next_to_command_commit_hardware_signature_and_control(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    signature = WER_SIGNATURE if "librispeech" in page else SIGNATURE
    for what in ("OMP_NUM_THREADS=1 egs/", "Commit", "Hardware: ", signature, "control"):
        assert what in text, f"{page} has scores without {what}"


@pytest.mark.parametrize("recipe", RECIPES)
def test_a_recipes_readme_links_its_other_pages(recipe: str) -> None:
    folder = ROOT / "egs" / recipe
    text = (folder / "README.md").read_text(encoding="utf-8")
    assert all((folder / name).is_file() for name in RECIPE_PAGES)
    for page in folder.glob("*.md"):
        assert page.name == "README.md" or f"]({page.name})" in text, f"{recipe}: README does not link {page.name}"
    assert "../../docs/recipes.md" in text


@pytest.mark.parametrize("page", sorted((ROOT / "docs").glob("*.md")), ids=lambda page: page.name)
def test_readme_links_every_page_of_docs(page: Path) -> None:
    assert f"](docs/{page.name}" in README


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text)]
    local = [link for link in links if link and not link.startswith(("http:", "https:"))]
    missing = [link for link in local if not (ROOT / page).parent.joinpath(link).exists()]
    assert missing == []


@pytest.mark.parametrize("page", PAGES)
def test_links_to_a_section_name_one(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    for target, section in re.findall(r"\]\(([^)\s:#]*)#([^)\s]+)\)", text):
        other = (ROOT / page).parent / target if target else ROOT / page
        assert section in anchors(other), f"{page}: {other.name} has no section {section}"


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
    assert used == {"from_pretrained", "long", "start", "end", "text"}
    assert {"from_pretrained", "__call__", "long"} <= methods and "text" in fields


def test_the_mini_recipes_page_has_the_sizes_of_its_corpus() -> None:
    page = (ROOT / "egs/mini_covost2/README.md").read_text(encoding="utf-8")
    sizes = MiniOptions()
    assert f"{sizes.num_train:,} train, {sizes.num_dev:,} dev, {sizes.num_test:,} test" in page
    assert f"{sizes.num_llm_text:,} sentence pairs" in page
