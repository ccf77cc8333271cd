"""tools/install.sh with a fake Python: what it makes, repeats, repairs and does not touch."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest


class Machine:
    """A checkout and a PATH on which python3 is a fake."""

    def __init__(self, directory: Path, root: Path) -> None:
        self.checkout = directory / "a checkout"
        self.calls_path = directory / "calls"
        self.bin = directory / "bin"
        self.bin.mkdir()
        shutil.copy(root / "test" / "fakes" / "system_python3", self.bin / "python3")
        for name in ("tools", "utils"):
            ignore = shutil.ignore_patterns("venv*", "__pycache__")
            shutil.copytree(root / name, self.checkout / name, ignore=ignore)
        for name in ("setup.py", "pyproject.toml"):
            shutil.copy(root / name, self.checkout / name)

    def install(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run tools/install.sh."""
        env = {
            "PATH": f"{self.bin}:/usr/bin:/bin",
            "HOME": os.environ["HOME"],
            "FAKE_CALLS": str(self.calls_path),
            "PYENV_ROOT": str(self.bin),
        }
        command = [str(self.checkout / "tools" / "install.sh"), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=env | environment)

    def calls(self) -> list[str]:
        """What the fakes were asked to do since the last call of this method."""
        lines = self.calls_path.read_text().split() if self.calls_path.exists() else []
        self.calls_path.unlink(missing_ok=True)
        return lines


@pytest.fixture
def machine(tmp_path: Path, root: Path) -> Machine:
    """A machine with nothing installed but Python."""
    return Machine(tmp_path, root)


def test_first_use_makes_the_environment_and_the_second_does_nothing(machine: Machine) -> None:
    result = machine.install("--print_bin")
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{machine.checkout}/tools/venv/bin\n"
    assert machine.calls() == ["venv", "pip"]
    assert machine.install("--print_bin").stdout == result.stdout
    assert machine.calls() == []


def test_an_active_environment_with_all_that_is_needed_is_left_alone(machine: Machine) -> None:
    result = machine.install("--print_bin", FAKE_HAS_ALL="yes")
    assert result.stdout == f"{machine.bin}\n"
    assert machine.calls() == []
    assert not (machine.checkout / "tools" / "venv").exists()


def test_a_named_environment_is_made_whatever_is_active(machine: Machine, tmp_path: Path) -> None:
    venv = tmp_path / "other venv"
    result = machine.install("--venv", str(venv), "--print_bin", FAKE_HAS_ALL="yes")
    assert result.stdout == f"{venv}/bin\n"
    assert machine.calls() == ["venv", "pip"]


def test_an_interrupted_installation_is_repaired(machine: Machine) -> None:
    result = machine.install(FAKE_PIP_FAILS="3")
    assert result.returncode == 1
    assert "pip failed with status 3" in result.stderr and "pip says:" in result.stderr
    assert machine.calls() == ["venv", "pip"]
    assert machine.install().returncode == 0
    assert machine.calls() == ["pip"]


def test_an_environment_that_does_not_load_is_not_called_finished(machine: Machine) -> None:
    result = machine.install(FAKE_UNLOADABLE="torchaudio")
    assert result.returncode == 1
    assert "not everything loads" in result.stderr and "| MISSING import torchaudio OSError" in result.stderr
    assert "| ok" not in result.stderr
    machine.calls()
    assert machine.install().returncode == 0  # the cause is gone: tried again, and finished
    assert machine.calls() == ["pip"]


def test_a_changed_setup_py_updates_the_environment(machine: Machine) -> None:
    machine.install()
    machine.calls()
    with (machine.checkout / "setup.py").open("a") as file:
        file.write("# changed\n")
    machine.install()
    assert machine.calls() == ["pip"]


def test_an_environment_whose_python_is_gone_is_made_anew(machine: Machine) -> None:
    machine.install()
    machine.calls()
    python = machine.checkout / "tools" / "venv" / "bin" / "python"
    python.unlink()
    python.symlink_to("/nowhere/python3")
    assert machine.install().returncode == 0
    assert machine.calls()[-1] == "pip"


def test_a_directory_that_is_no_environment_is_never_cleared(machine: Machine, tmp_path: Path) -> None:
    treasure = tmp_path / "mine" / "treasure"
    treasure.parent.mkdir()
    treasure.touch()
    result = machine.install("--venv", str(treasure.parent))
    assert result.returncode == 1
    assert f"{treasure.parent} is there and is no environment of Python" in result.stderr
    assert treasure.exists() and machine.calls() == []
    treasure.unlink()
    assert machine.install("--venv", str(treasure.parent)).returncode == 0  # an empty one is as good as none


def test_no_fit_python_is_said_plainly(machine: Machine) -> None:
    for name in ("python3.10", "python3.11", "python3.12", "python3.13"):
        shutil.copy(machine.bin / "python3", machine.bin / name)
    result = machine.install(FAKE_UNFIT="1")
    assert result.returncode == 1
    assert "no Python 3.10 to 3.13" in result.stderr
    result = machine.install("--python", "python3.12", FAKE_UNFIT="1")
    assert "python3.12 will not do" in result.stderr
    assert machine.calls() == []
