"""Decoded sets of systems that are right as often as wanted, and the tables of them."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from speechllama.bin.write_table import main
from speechllama.files import read_json, write_json, write_table
from speechllama.report.decoded_set import score_decoded_set, score_path
from speechllama.report.results import results_path
from speechllama.report.score import Pairs
from speechllama.report.table.files import claims_path, table_path

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
        self.references = make_references()
        (root / "dump/test").mkdir(parents=True)
        write_table(root / "dump/test/text", self.references)
        write_table(root / "dump/test/src_text", self.references)
        write_table(root / "dump/test/utt2lang", {name: name[:2] for name in self.references})
        write_table(root / "dump/test/utt2num_frames", dict.fromkeys(self.references, "320"))

    def add(self, row: str, share: float, seed: int = 1, **settings: Any) -> Path:
        """A system whose hypotheses have this share of wrong words; a control with all of them wrong."""
        system = self.root / f"exp/{row}.{seed}"
        task = "asr" if row.endswith(":asr") else "st"
        decoded, control = system / "decode_test_beam4", system / "decode_test_beam4_control"
        for folder, wrong in ((decoded, share), (control, 1.0)):
            folder.mkdir(parents=True)
            write_table(folder / "text", spoil(self.references, wrong, seed * 1000 + len(row)))
        facts = {"beam_size": 4, "num_parameters": 1000, "num_trainable": 10, "rtf": 0.05, "commit": "abc", **settings}
        write_json(decoded / "decode.json", facts)
        write_json(score_path(decoded), score_decoded_set(decoded, self.root / "dump/test", task, control))
        seconds = {"seconds": 120.0, "num_updates": 280, "peak_gb": 0.75, "peak_of": "this process"}
        write_json(system / "training.json", {**seconds, "hardware": "a CPU", "num_threads": 2})
        write_json(system / "average.json", {"num_best": 3, "criterion": "valid.loss.min", "epochs": [3, 1, 2]})
        (system / "config.yaml").write_text("compressor: convolution\n", encoding="utf-8")
        write_json(self.root / "exp/llm/training.json", {"seconds": 60.0, "num_updates": 3600, "peak_gb": 0.5})
        self.write_dirs(row, seed, system_dir=system, base_dir=system, decode_dir=decoded)
        return system

    def write_dirs(self, row: str, seed: int, **dirs: Path) -> None:
        """What run.sh --print_dirs says."""
        known = {"llm_dir": self.root / "exp/llm", "score_data_dir": self.root / "dump/test", "init_dir": "", **dirs}
        lines = "".join(f"{name} {path}\n" for name, path in known.items())
        place = self.root / f"exp/table/{row}.seed{seed}.dirs"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(lines, encoding="utf-8")

    def table(self, rows: str, reference: str = "e6", seeds: str = "1") -> dict[str, Any]:
        """Run the command and read table.json."""
        main(["--exp_dir", str(self.root / "exp"), "--rows", rows, "--reference", reference, "--seeds", seeds])
        return read_json(table_path(self.root / "exp"))

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
