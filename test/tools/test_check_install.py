"""tools/check_install.py: one line per requirement, ok or what to do."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="module")
def checker(root: Path) -> ModuleType:
    """The script as a module."""
    spec = importlib.util.spec_from_file_location("check_install", root / "tools" / "check_install.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def setup_file(tmp_path: Path) -> Path:
    """A setup.py with what is surely there, what surely is not, and what is for other Pythons only."""
    path = tmp_path / "setup.py"
    path.write_text(
        'REQUIREMENTS = ["pytest>=1", "numpy>=999", "no-such-package-here", "gone; python_version < \'3\'"]\n'
        'EXTRAS = {"test": ["pytest<1"]}\nraise SystemExit("never run")\n'
    )
    return path


def test_requirements_are_read_without_running_setup_py(checker: ModuleType, setup_file: Path) -> None:
    assert len(checker.read_requirements(setup_file, [])) == 4
    assert checker.read_requirements(setup_file, ["test"])[-1] == "pytest<1"
    with pytest.raises(ValueError, match="no extra 'tset'; there are: test"):
        checker.read_requirements(setup_file, ["tset"])


def test_each_requirement_gets_one_line(
    checker: ModuleType, setup_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checker.main(["--setup", str(setup_file)]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[:2] for line in lines[:4]] == [
        ["ok", "python"],
        ["ok", "pytest"],
        ["MISSING", "numpy"],
        ["MISSING", "no-such-package-here"],
    ]
    assert ">=999 expected: run tools/install.sh" in lines[2]
    assert "not installed: run tools/install.sh" in lines[3]
    assert any(line.split()[1] == "GPU" for line in lines)


def test_quiet_prints_only_what_is_missing(
    checker: ModuleType, setup_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert checker.main(["--setup", str(setup_file), "--quiet", "--extra", "test"]) == 1
    assert [line.split()[1] for line in capsys.readouterr().out.splitlines()] == [
        "numpy",
        "no-such-package-here",
        "pytest",
    ]


@pytest.mark.parametrize(("version", "is_ok"), [((3, 9), False), ((3, 10), True), ((3, 13), True), ((3, 14), False)])
def test_the_python_must_be_3_10_to_3_13(checker: ModuleType, version: tuple[int, int], is_ok: bool) -> None:
    finding = checker.check_python(version)
    assert finding.is_ok == is_ok
    if not is_ok:
        assert f"{version[0]}.{version[1]} found, 3.10 to 3.13 expected" in finding.text


def test_setup_py_asks_for_the_espnet_of_each_python(checker: ModuleType, root: Path) -> None:
    from packaging.requirements import Requirement

    lines = checker.read_requirements(root / "setup.py", ["test", "quant"])
    espnets = [requirement for requirement in map(Requirement, lines) if requirement.name == "espnet"]
    for python_version, expected in [("3.10", "202511"), ("3.11", "202511"), ("3.12", "202611"), ("3.13", "202611")]:
        environment = {"python_version": python_version}
        found = [str(r.specifier) for r in espnets if r.marker and r.marker.evaluate(environment)]
        assert found == [f"=={expected}"]
