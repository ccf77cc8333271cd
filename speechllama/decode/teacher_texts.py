"""Sequence-level distillation: the texts that a teacher wrote of a training set take the place of the references.

data directory, nbest.jsonl of the teacher -> data directory with its texts; taught.json, taught.md, skipped
"""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from speechllama.data.data_dir import read_data_dir, write_data_dir
from speechllama.data.skipped import Reason, Skip, write_skipped
from speechllama.data.subset import copy_records
from speechllama.decode.nbest import read_nbest
from speechllama.faults import InputError, first_ten
from speechllama.files import atomic_write, write_json
from speechllama.text.clean import is_blank
from speechllama.text.runaway import is_runaway

LEFT_OUT = (Reason.NO_TEXT, Reason.CUT, Reason.RUNAWAY)


def take_texts(decode_dir: str | Path, data_dir: str | Path, table: str, output_dir: str | Path) -> dict[str, Any]:
    """Write the training set of a student.

    An utterance is left out if the teacher's first text of it is empty or was cut; one that repeats itself to the limit
    is counted apart.

    Args:
        decode_dir: What the teacher wrote of the data directory, without a control.
        data_dir: The training set, of features or compressed features.
        table: Where the reference texts are, which the teacher's replace.
        output_dir: Gets the training set; its arrays stay where they are.

    Returns:
        The record written to taught.json: counts, and who the teacher is.

    Raises:
        FileNotFoundError: One of both is not there.
        ValueError: The teacher decoded a control or other utterances, or no text can be used.

    Source: arXiv 1606.07947, section 3.2.
    """
    data, nbest = read_data_dir(data_dir), read_nbest(decode_dir)
    if nbest.stamp.get("control"):
        raise InputError(f"{nbest.path}: the texts of a control; a student learns from the audio's own utterances")
    missing = [utterance for utterance in data.utterances if utterance not in nbest.entries]
    if missing:
        raise InputError(
            f"{nbest.path}: the teacher wrote nothing of {len(missing):,} of the {len(data.utterances):,} utterances "
            f"of {data_dir}; decode that set again:{first_ten(missing)}"
        )
    texts, skipped = choose_texts({utterance: nbest.entries[utterance] for utterance in data.utterances})
    counts = Counter(skip.reason for skip in skipped.values())
    page = f"{decode_dir}: kept {len(texts):,} of {len(data.utterances):,} texts of the teacher.\n"
    for reason in LEFT_OUT:
        details = [f"{utterance}: {skip.detail}" for utterance, skip in skipped.items() if skip.reason == reason]
        page += f"\n{len(details):,} {reason.in_words}:{first_ten(details)}\n" if details else ""
    if not texts:
        raise InputError(f"{page}There is nothing to learn from; train the teacher better, or take another one")
    taught = data.subset(list(texts))
    taught = dataclasses.replace(taught, tables={**taught.tables, table: texts})
    write_data_dir(taught, output_dir)
    copy_records(data_dir, output_dir)
    write_skipped(Path(output_dir) / "skipped", skipped)
    with atomic_write(Path(output_dir) / "taught.md") as stream:
        stream.write(page)
    report = {
        "decode_dir": str(decode_dir),
        "search": nbest.stamp.get("search"),
        "num_utterances": len(data.utterances),
        "num_kept": len(texts),
        **{f"num_{reason.value}": counts[reason] for reason in LEFT_OUT},
    }
    write_json(Path(output_dir) / "taught.json", report)
    (logging.warning if skipped else logging.info)("%s: %s", output_dir, page.rstrip("\n"))
    return report


def choose_texts(nbests: Mapping[str, Sequence[Mapping[str, Any]]]) -> tuple[dict[str, str], dict[str, Skip]]:
    """Take the first text of each utterance, or say why it is no example.

    Args:
        nbests: Hypotheses of each utterance, best first; there may be none.

    Returns:
        Texts, and why each of the other utterances is left out.
    """
    texts: dict[str, str] = {}
    skipped: dict[str, Skip] = {}
    for utterance, nbest in nbests.items():
        text = str(nbest[0]["text"]) if nbest else ""
        if nbest and nbest[0].get("is_cut"):
            reason = Reason.RUNAWAY if is_runaway(nbest[0]["tokens"]) else Reason.CUT
            skipped[utterance] = Skip(reason, f"{len(nbest[0]['tokens'])} tokens, {text[:60]!r}")
        elif is_blank(text):
            skipped[utterance] = Skip(Reason.NO_TEXT, "an empty text")
        else:
            texts[utterance] = text
    return texts, skipped
