"""Stage 1 of spoken Tatoeba is done again when the pairs or the plain text change, and only then."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from speechllama.corpora.tatoeba.options import TatoebaOptions
from speechllama.recipe.corpora import CORPORA
from test.egs.conftest import Checkout


@pytest.fixture
def checkout(tmp_path: Path, root: Path) -> Checkout:
    """A fresh checkout whose path has a space in it, with pairs of two languages."""
    made = Checkout(tmp_path, root)
    folder = made.directory / "egs/tatoeba/downloads/pairs"
    folder.mkdir(parents=True)
    for code in ("deu", "nld"):
        (folder / f"{code}-eng.tsv").write_text("I am here.\tx\n")
    return made


def made_again(checkout: Checkout, *arguments: str) -> bool:
    """Whether stage 1 makes the corpus when it is run."""
    result = checkout.run("--langs", "de", "--stage", "1", "--stop_stage", "1", *arguments, recipe="tatoeba")
    assert result.returncode == 0, result.stderr
    return "prepare_data" in [call[0] for call in checkout.calls()]


def test_changed_pairs_make_stage_1_stale_even_if_their_date_is_old(checkout: Checkout) -> None:
    pairs = checkout.directory / "egs/tatoeba/downloads/pairs"
    assert made_again(checkout) and not made_again(checkout)
    (pairs / "nld-eng.tsv").write_text("of a language that the run has not")
    assert not made_again(checkout)
    (pairs / "deu-eng.tsv").write_text("You are here.\ty\n")
    os.utime(pairs / "deu-eng.tsv", (1e9, 1e9))
    listed = checkout.run("--langs", "de", "--list", recipe="tatoeba").stdout
    assert "stale" in listed.splitlines()[1] and "deu-eng.tsv:" in listed.splitlines()[1]
    assert made_again(checkout) and not made_again(checkout)


def test_changed_plain_text_makes_stage_1_stale(checkout: Checkout) -> None:
    texts = checkout.directory / "texts"
    texts.mkdir()
    (texts / "one.txt").write_text("One.\n")
    # Options of one string are split at spaces, which the checkout's path has.
    (checkout.calls_path.parent / "link").symlink_to(texts)
    options = ("--data_options", f"--plain_text {checkout.calls_path.parent}/link")
    assert made_again(checkout, *options) and not made_again(checkout, *options)
    (texts / "two.txt").write_text("Two.\n")
    assert made_again(checkout, *options) and not made_again(checkout, *options)


def test_the_files_of_the_corpus_are_found_in_every_place(checkout: Checkout, tmp_path: Path) -> None:
    pairs = checkout.directory / "egs/tatoeba/downloads/pairs"

    def files(**options: str) -> list[str]:
        made = TatoebaOptions(langs="de nl", downloads=str(pairs.parent), **options)  # type: ignore[arg-type]
        return [Path(path).name for path in CORPORA["tatoeba"].find_sources(made).archives]

    both = ["deu-eng.tsv", "nld-eng.tsv"]
    assert files() == files(pairs=str(pairs)) == files(pairs=f"{pairs}/{{code}}-eng.tsv") == both
    assert files(pairs="https://example.org/{code}.tsv") == []
    (tmp_path / "plain.txt").write_text("x")
    assert files(plain_text=str(tmp_path / "plain.txt")) == [*both, "plain.txt"]


def test_a_wrong_option_of_the_corpus_is_told_at_once(checkout: Checkout) -> None:
    result = checkout.run("--data_options", "--ours 3", recipe="tatoeba")
    assert result.returncode == 2 and "unknown option --ours; the nearest is --hours" in result.stderr
    assert checkout.all_calls() == []
