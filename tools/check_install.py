#!/usr/bin/env python3
"""Say for each requirement of setup.py whether this Python has it, and what to do if not.

python3 tools/check_install.py                 # one line per requirement; exit 1 if something is missing
python3 tools/check_install.py --extra test    # with those of an extra
python3 tools/check_install.py --quiet         # no imports, only what is missing (tools/install.sh asks)
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

SETUP = Path(__file__).resolve().parents[1] / "setup.py"
PYTHON_RANGE = ((3, 10), (3, 14))  # first good, first too new
# Modules with a native library, which can be installed in the version asked for and still not load. transformers and
# espnet take seconds and are judged by their version.
NATIVE_MODULES = (
    "torchaudio",
    "soundfile",
    "soxr",
    "kaldiio",
    "kaldi_native_fbank",
    "sentencepiece",
    "sacrebleu",
    "safetensors",
    "yaml",
)


class Finding(NamedTuple):
    """One line of the report."""

    name: str
    is_ok: bool
    text: str  # the version found, or what to do


def read_requirements(setup: Path, extras: Sequence[str]) -> list[str]:
    """Read the literals REQUIREMENTS and EXTRAS of a setup.py without running it.

    Raises:
        ValueError: an extra is not in EXTRAS.
    """
    literals = {}
    for node in ast.parse(setup.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            name = node.targets[0].id
            if name in ("REQUIREMENTS", "EXTRAS"):
                literals[name] = ast.literal_eval(node.value)
    requirements = list(literals["REQUIREMENTS"])
    for extra in extras:
        if extra not in literals["EXTRAS"]:
            raise ValueError(f"{setup}: no extra '{extra}'; there are: {', '.join(literals['EXTRAS'])}")
        requirements += literals["EXTRAS"][extra]
    return requirements


def check_python(version: tuple[int, int]) -> Finding:
    """Compare the interpreter with the range that the project supports."""
    first, end = PYTHON_RANGE
    found = ".".join(map(str, version))
    if first <= version < end:
        return Finding("python", True, found)
    expected = f"3.{first[1]} to 3.{end[1] - 1}"
    return Finding("python", False, f"{found} found, {expected} expected: use another python3")


def check_requirement(line: str) -> Finding | None:
    """Compare what is installed with one requirement; None where it is not for this Python.

    Raises:
        ImportError: this Python has no `packaging`, so nothing of ours can be installed in it.
    """
    from packaging.requirements import Requirement

    requirement = Requirement(line)
    if requirement.marker is not None and not requirement.marker.evaluate():
        return None
    to_do = f"run tools/install.sh, or: pip install '{requirement.name}{requirement.specifier}'"
    try:
        version = metadata.version(requirement.name)
    except metadata.PackageNotFoundError:
        return Finding(requirement.name, False, f"not installed: {to_do}")
    if not requirement.specifier.contains(version, prereleases=True):
        return Finding(requirement.name, False, f"{version} found, {requirement.specifier} expected: {to_do}")
    return Finding(requirement.name, True, version)


def check_requirements(lines: Sequence[str]) -> Iterator[Finding]:
    """Check every requirement that is for this Python."""
    try:
        findings = [check_requirement(line) for line in lines]
    except ImportError:
        yield Finding("packaging", False, "not installed: run tools/install.sh")
        return
    yield from (finding for finding in findings if finding is not None)


def check_module(name: str) -> Finding:
    """Import a module: an installed package can still lack a system library."""
    try:
        importlib.import_module(name)
    except Exception as error:  # whatever a broken package raises belongs in the report
        to_do = "run tools/install.sh, or install a release that goes with the others"
        return Finding(f"import {name}", False, f"{type(error).__name__}: {error}: {to_do}")
    return Finding(f"import {name}", True, "loads")


def check_espeak() -> Finding:
    """Look for the speech synthesiser's library and its voices."""
    try:
        loader = importlib.import_module("espeakng_loader")
        library, voices = Path(loader.get_library_path()), Path(loader.get_data_path())
    except Exception as error:  # see check_module
        return Finding("espeak-ng", False, f"{type(error).__name__}: {error}: pip install espeakng-loader")
    for path in (library, voices):
        if not path.exists():
            to_do = "pip install --force-reinstall espeakng-loader"
            return Finding("espeak-ng", False, f"{path} is missing: {to_do}")
    return Finding("espeak-ng", True, str(library))


def check_gpu() -> Finding:
    """Say whether there is a GPU; none is needed."""
    if shutil.which("nvidia-smi") or os.path.exists("/dev/nvidia0"):
        return Finding("GPU", True, "yes: recipes use it with --ngpu 1")
    return Finding("GPU", True, "no: recipes run on the CPU")


def get_parser() -> argparse.ArgumentParser:
    """Describe the options."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--extra", action="append", default=[], help="also what this extra of setup.py needs")
    parser.add_argument("--setup", type=Path, default=SETUP, help="setup.py to read")
    parser.add_argument("--quiet", action="store_true", help="no imports; print only what is missing")
    return parser


def main(cmd: Sequence[str] | None = None) -> int:
    """Print the report; 0 if nothing is missing, else 1."""
    args = get_parser().parse_args(cmd)
    findings = [check_python(sys.version_info[:2])]
    findings += check_requirements(read_requirements(args.setup, args.extra))
    if not args.quiet:
        findings += [check_module(name) for name in NATIVE_MODULES]
        findings += [check_espeak(), check_gpu()]
    for finding in findings:
        if not (args.quiet and finding.is_ok):
            print(f"{'ok     ' if finding.is_ok else 'MISSING'} {finding.name:24} {finding.text}")
    return 0 if all(finding.is_ok for finding in findings) else 1


if __name__ == "__main__":
    sys.exit(main())
