"""Decoded sets of systems that are right as often as wanted, and the tables of them."""

from __future__ import annotations

import random
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import pytest

from speechllama.files import read_json, write_json, write_table
from speechllama.report.decoded_set import DecodedSet, score_decoded_set, score_path
from speechllama.report.results import results_path, write_results
from speechllama.report.score import Pairs
from speechllama.report.table.files import claims_path, table_path, write_table_files
from speechllama.report.table.run import RunPaths

WORDS = "the a dog cat house tree runs sees big small red and of in old man woman eats bread".split()
NUM_UTTERANCES = 40


def make_references(seed: int = 0) -> dict[str, str]:
    """Sentences of eight words, half of them of each language."""
    draw = random.Random(seed)
    names = [f"{'de' if index % 2 else 'fr'}_{index:02d}" for index in range(NUM_UTTERANCES)]
    return {name: " ".join(draw.choices(WORDS, k=8)) for name in names}


def spoil(texts: dict[str, str], share: float, seed: int) -> dict[str, str]:
    """The texts with some of their words replaced."""
    draw = random.Random(seed)
    return {
        name: " ".join("wrong" if draw.random() < share else word for word in text.split())
        for name, text in texts.items()
    }


def to_pairs(hypotheses: dict[str, str], references: dict[str, str]) -> Pairs:
    names = sorted(references)
    return Pairs(tuple(names), tuple(hypotheses[name] for name in names), tuple(references[name] for name in names))


class Experiment:
    """An experiment directory with decoded and scored systems, as run_table.sh and its runs leave it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.task = "st"  # of the rows whose name has no other
        self.paths: dict[tuple[str, int], RunPaths] = {}
        self.further: dict[tuple[str, int], RunPaths] = {}  # of a second test set
        self.references = make_references()
        (root / "dump/test").mkdir(parents=True)
        write_table(root / "dump/test/text", self.references)
        write_table(root / "dump/test/src_text", self.references)
        write_table(root / "dump/test/utt2lang", {name: name[:2] for name in self.references})
        write_table(root / "dump/test/utt2num_frames", dict.fromkeys(self.references, "320"))

    def add(self, row: str, share: float, seed: int = 1, **settings: Any) -> Path:
        """A system whose hypotheses have this share of wrong words; a control with all of them wrong."""
        system = self.root / f"exp/{row}.{seed}"
        task = "asr" if row.endswith(":asr") else self.task
        decoded, control = system / "decode_test_beam4", system / "decode_test_beam4_control"
        for folder, wrong in ((decoded, share), (control, 1.0)):
            folder.mkdir(parents=True)
            write_table(folder / "text", spoil(self.references, wrong, seed * 1000 + len(row)))
        facts = {"beam_size": 4, "num_parameters": 1000, "num_trainable": 10, "rtf": 0.05, "commit": "abc", **settings}
        write_json(decoded / "decode.json", facts)
        write_json(score_path(decoded), score_decoded_set(DecodedSet(decoded, self.root / "dump/test", control), task))
        seconds = {"seconds": 120.0, "num_updates": 280, "peak_gb": 0.75, "peak_of": "this process"}
        write_json(system / "training.json", {**seconds, "hardware": "a CPU", "num_threads": 2})
        write_json(system / "average.json", {"num_best": 3, "criterion": "valid.loss.min", "epochs": [3, 1, 2]})
        (system / "config.yaml").write_text("compressor: convolution\n", encoding="utf-8")
        write_json(self.root / "exp/llm/training.json", {"seconds": 60.0, "num_updates": 3600, "peak_gb": 0.5})
        self.add_paths(row, seed, system_dir=system, base_dir=system, decode_dir=decoded)
        return system

    def add_paths(self, row: str, seed: int, **dirs: Path) -> None:
        """Where a run's files are, as its plan says."""
        exp = self.root / "exp"
        known = {field.name: "" for field in fields(RunPaths)} | {
            "failed": str(exp / f"table/{row}.seed{seed}.failed"),
            "llm_dir": str(exp / "llm"),
            "data_dir": str(self.root / "dump/test"),
        }
        named = {name: str(path) for name, path in dirs.items()}
        self.paths[row, seed] = RunPaths(**{**known, **named, "row": row, "seed": seed})  # type: ignore[arg-type]

    def add_second_set(self, row: str, share: float, seed: int = 1, name: str = "fleurs") -> None:
        """The same system on a second test set, which has other references."""
        first, data = self.paths[row, seed], self.root / f"dump/{name}"
        references = make_references(seed=1)
        for table in ("text", "src_text"):
            write_table(data / table, references)
        write_table(data / "utt2lang", {utterance: utterance[:2] for utterance in references})
        write_table(data / "utt2num_frames", dict.fromkeys(references, "320"))
        decoded = Path(first.system_dir) / f"decode_{name}_beam4"
        write_table(decoded / "text", spoil(references, share, seed))
        write_table(Path(f"{decoded}_control") / "text", spoil(references, 1.0, seed))
        task = "asr" if row.endswith(":asr") else self.task
        report = score_decoded_set(DecodedSet(decoded, data, f"{decoded}_control"), task)
        write_json(score_path(decoded), report)
        self.paths[row, seed] = replace(first, set_name="test")
        self.further[row, seed] = replace(first, set_name=name, decode_dir=str(decoded), data_dir=str(data))

    def table(self, rows: str, reference: str = "e6", seeds: str = "1") -> dict[str, Any]:
        """Write the table, as the entry point does, and read table.json."""
        exp = self.root / "exp"
        names = [(row, int(seed)) for row in rows.split() for seed in seeds.split()]
        for row, seed in names:
            if (row, seed) not in self.paths:
                self.add_paths(row, seed, system_dir=exp / row, decode_dir=exp / row / "decode_test_beam4")
        read = [self.paths[name] for name in names] + [self.further[name] for name in names if name in self.further]
        write_table_files(exp, read, reference, "Results")
        write_results(exp, "Results")
        return read_json(table_path(exp))

    def page(self) -> str:
        return results_path(self.root / "exp").read_text(encoding="utf-8")

    def claims(self) -> str:
        return claims_path(self.root / "exp").read_text(encoding="utf-8")


@pytest.fixture
def experiment(tmp_path: Path) -> Experiment:
    return Experiment(tmp_path)


def row_of(table: dict[str, Any], name: str) -> dict[str, Any]:
    (row,) = [row for row in table["rows"] if row["row"] == name]
    return dict(row)
