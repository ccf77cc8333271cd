"""Write docs/tree.md: every file of the project with the first line of its own description.

    python3 tools/write_tree.py            # write it
    python3 tools/write_tree.py --check    # exit with 1 if it is out of date

A Python file is described by its docstring, a script or YAML file by its first comment.
"""

from __future__ import annotations

import argparse
import ast
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "tree.md"
FOLDERS = ("egs", "speechllama", "tools", "utils")
SUFFIXES = (".py", ".sh", ".yaml")
# The folders of the package in the order of the flow; files without a folder come first.
FLOW = (
    *("corpora", "data", "text", "model", "llm", "compress", "train", "decode", "rescore", "report"),
    *("share", "page", "serve", "recipe", "bin"),
)
HEADER = """# The tree

Written by `python3 tools/write_tree.py` from the first line of each file. The package's folders are in the order of the
flow, from a corpus to a report.
"""


def describe(path: Path) -> str:
    """Return the first sentence of a file's own description.

    Raises:
        ValueError: It has none.
    """
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        found = (ast.get_docstring(ast.parse(text)) or "").partition("\n\n")[0]
    else:
        lines = [line for line in text.splitlines() if not line.startswith("#!")]
        comments = []
        for line in lines:
            if not line.startswith("# "):
                break
            comments.append(line[2:])
        found = " ".join(comments)
    found = " ".join(found.split())
    if not found:
        raise ValueError(f"{path.relative_to(ROOT)}: no description in its first line; write one")
    for end in (". ", ": ", "; "):
        found = found.partition(end)[0] if len(found) > 100 else found
    return found.rstrip(".:;")


def list_files() -> Iterator[Path]:
    """List the files that git knows, or would add, in the order of the tree."""
    command = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard", "--", *FOLDERS]
    names = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    for path in sorted({ROOT / name for name in names}, key=place_in_flow):
        if path.suffix in SUFFIXES and path.is_file() and not path.is_symlink():
            yield path


def place_in_flow(path: Path) -> tuple[int, Path]:
    """Give the key by which files are sorted: alphabetically, but the package's folders by the flow."""
    parts = path.relative_to(ROOT).parts
    is_in_folder = parts[0] == "speechllama" and len(parts) > 2
    place = 0 if not is_in_folder else 1 + (FLOW.index(parts[1]) if parts[1] in FLOW else len(FLOW))
    return FOLDERS.index(parts[0]) * 100 + place, path


def format_tree(paths: Sequence[Path]) -> str:
    """Write the page: a folder with its package's docstring, then its files."""
    lines: list[str] = []
    shown: set[Path] = set()
    for path in paths:
        folder = path.parent.relative_to(ROOT)
        for place in [*reversed(folder.parents), folder]:
            if place in shown or place == Path("."):
                continue
            shown.add(place)
            package = ROOT / place / "__init__.py"
            about = f"  {describe(package)}" if package.is_file() else ""
            lines.append(f"{'  ' * (len(place.parts) - 1)}{place.name}/{about}")
        if path.name != "__init__.py":
            name = f"{'  ' * len(folder.parts)}{path.name}"
            lines.append(f"{name:<32} {describe(path)}")
    return HEADER + "\n```\n" + "\n".join(lines) + "\n```\n"


def is_unlisted(path: Path, page: str) -> bool:
    """Whether a file is of a recipe that the page does not list: a user's own, which the check leaves alone."""
    parts = path.relative_to(ROOT).parts
    return parts[0] == "egs" and f"\n  {parts[1]}/" not in page


def main(cmd: Sequence[str] | None = None) -> int:
    """Write the page, or check it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page is out of date")
    args = parser.parse_args(cmd)
    paths = list(list_files())
    if args.check:
        written = PAGE.read_text(encoding="utf-8") if PAGE.is_file() else ""
        if written != format_tree([path for path in paths if not is_unlisted(path, written)]):
            print(f"{PAGE.relative_to(ROOT)} is out of date; run python3 tools/write_tree.py", file=sys.stderr)
            return 1
        return 0
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(format_tree(paths), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
