"""Make the spoken Tatoeba corpus: sentence pairs, plain text -> clips and tables like CoVoST 2's.

    pairs -> plan -> corpora.mini.corpus.write_corpus; llm_text.tsv

`llm_text.tsv` has every pair of training, spoken or not, and plain English without a source: the lines of the texts
that the user gives, without those that hold a sentence of dev or test.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from speechllama.corpora.mini.corpus import CONTENT, digest, write_corpus
from speechllama.corpora.mini.plan import Pair
from speechllama.corpora.tatoeba.pairs import PairFilter, check_languages, find_pair_files, read_pairs
from speechllama.corpora.tatoeba.plan import (
    Splits,
    TatoebaSettings,
    VoicePlan,
    plan_held_out,
    plan_training,
    split_pairs,
)
from speechllama.faults import InputError, MissingFileError
from speechllama.text.clean import normalise_text
from speechllama.text.filter import TextFilter, sentence_keys

ENGLISH = "en"


def make_tatoeba(
    settings: TatoebaSettings, pairs_place: str, plain_texts: Sequence[Path], output_dir: Path, num_jobs: int
) -> None:
    """Make the corpus; a second call makes only what is missing, and more hours add to what is there.

    Args:
        settings: Languages, sizes and seed; with them and the pairs the bytes are fixed, whatever the number of jobs.
        pairs_place: Where the sentence pairs are, see `find_pair_files`.
        plain_texts: English text for the LLM: files, or folders with .txt files; UTF-8, a paragraph or less a line.
        output_dir: Folder of the corpus; fetched files go to `pairs` in it.
        num_jobs: Processes.

    Raises:
        FileNotFoundError, ValueError: Files that are not there or hold no pairs, settings that make no corpus, or a
            folder with another corpus.
    """
    check_languages(settings.langs)
    files = find_pair_files(pairs_place, settings.langs, output_dir / "pairs")
    pairs = [pair for lang, path in files.items() for pair in read_pairs(path, lang, PairFilter())]
    splits = split_pairs(pairs, settings)
    voices = VoicePlan(settings.seed)
    held_out = plan_held_out(splits, voices)
    training = list(plan_training(splits, settings, voices))
    log_plan(splits, [utterance.pair for utterance in training])
    text = llm_text(splits, plain_texts)
    wanted = {**asdict(settings), "langs": list(settings.langs)}
    wanted.pop("hours")  # what an utterance is does not depend on them
    wanted[CONTENT] = digest([*held_out, *splits.pairs["train"]])
    write_corpus(wanted, [*held_out, *training], text, output_dir, num_jobs)


def log_plan(splits: Splits, spoken: Sequence[Pair]) -> None:
    """Say how many pairs there are and how often they are spoken."""
    sizes = ", ".join(f"{name} {len(pairs):,}" for name, pairs in splits.pairs.items())
    logging.info("pairs: %s; %s share a sentence with dev or test and are left out", sizes, f"{splits.num_dropped:,}")
    available = Counter(pair.lang for pair in splits.pairs["train"])
    for lang, count in Counter(pair.lang for pair in spoken).items():
        times = count / available[lang]
        logging.info("%s: %s training utterances, %.2g for each pair", lang, f"{count:,}", times)


def llm_text(splits: Splits, plain_texts: Sequence[Path]) -> list[Pair]:
    """What the LLM reads: pairs of training, then the plain English that is given, each line once.

    Raises:
        FileNotFoundError, ValueError: A plain text is not there, not UTF-8, or has no usable line.
    """
    plain = dict.fromkeys(line for path in list_texts(plain_texts) for line in read_plain_text(path, splits.held_out))
    return [*splits.pairs["train"], *(Pair(ENGLISH, "", line) for line in plain)]


def list_texts(places: Sequence[Path]) -> list[Path]:
    """The files, and those named *.txt in the folders.

    Raises:
        FileNotFoundError: A place is neither, or a folder has none.
    """
    files: list[Path] = []
    for place in places:
        found = sorted(place.glob("*.txt")) if place.is_dir() else [place] if place.is_file() else []
        if not found:
            raise MissingFileError(f"{place}: no such text; --plain_text takes files, or folders with .txt files")
        files += found
    return files


def read_plain_text(path: Path, held_out: set[str]) -> list[str]:
    """Read English text without lines that hold a sentence of dev or test.

    Args:
        path: UTF-8, a sentence or a paragraph a line.
        held_out: `sentence_keys` of what must not be read.

    Returns:
        Lines with letters, normalised.

    Raises:
        ValueError: It is not UTF-8, or no line is left.
    """
    kept: list[str] = []
    num_lines = num_held_out = 0
    with path.open("rb") as stream:
        for number, raw in enumerate(stream, 1):
            try:
                line = normalise_text(raw.decode("utf-8-sig"))
            except UnicodeDecodeError as error:
                raise InputError(f"{path}:{number}: not UTF-8 ({error.reason}); convert the file") from error
            num_lines += bool(line)
            if not line or TextFilter().judge_characters(ENGLISH, line, line):
                continue
            if sentence_keys(line) & held_out:
                num_held_out += 1
            else:
                kept.append(line)
    if not kept:
        raise InputError(f"{path}: no usable line of English among {num_lines:,}")
    counts = (path, f"{len(kept):,}", f"{num_lines:,}", f"{num_held_out:,}")
    logging.info("%s: kept %s of %s lines; %s hold a sentence of dev or test", *counts)
    return kept
