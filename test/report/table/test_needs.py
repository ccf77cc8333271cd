"""What a row needs in order to be judged stands next to it: better than its control, trained to its budget."""

from __future__ import annotations

from typing import Any

import pytest

from speechllama.files import read_json, write_json
from test.report.table.conftest import Experiment, row_of


def train(experiment: Experiment, row: str, num_epochs: int, settings: str, seed: int = 1) -> None:
    """Let the training of a row have run for so many epochs, with these settings."""
    folder = experiment.root / f"exp/{row}.{seed}"
    write_json(folder / "training.json", {**read_json(folder / "training.json"), "num_epochs": num_epochs})
    (folder / "config.yaml").write_text(f"compressor: convolution\n{settings}", encoding="utf-8")


@pytest.fixture
def two(experiment: Experiment) -> Experiment:
    experiment.add("e6", 0.1)
    experiment.add("e5", 0.4)
    return experiment


def claim_of(table: dict[str, Any]) -> dict[str, Any]:
    (claim,) = [claim for claim in table["claims"] if claim["claim"] == "e6 against the best of the others, e5"]
    return dict(claim)


@pytest.mark.parametrize(
    ("num_epochs", "settings", "flags"),
    [
        (6, "max_epoch: 6\n", []),
        (3, "max_epoch: 6\n", ["3 of 6 epochs trained (seed 1)"]),
        (3, "max_epoch: 6\npatience: 2\n", []),  # it may end before
        (3, "", []),  # not known
    ],
)
def test_a_training_that_ended_before_its_budget_is_not_judged(
    two: Experiment, num_epochs: int, settings: str, flags: list[str]
) -> None:
    train(two, "e5", num_epochs, settings)
    table = two.table("e6 e5")
    assert row_of(table, "e5")["flags"] == flags
    claim = claim_of(table)
    assert claim["verdict"] == ("not judged" if flags else "agrees")
    assert claim.get("note", "") == "".join(f"e5: {flag}" for flag in flags)
    line = next(line for line in two.page().splitlines() if line.startswith("| e5 | 1,000"))
    assert line.split(" | ")[-2] == ("no" if flags else "yes")


def test_the_page_of_claims_lists_what_each_row_has(two: Experiment) -> None:
    train(two, "e6", 6, "max_epoch: 6\n")
    train(two, "e5", 3, "max_epoch: 6\n")
    two.table("e6 e5")
    first, second = (line for line in two.claims().splitlines() if line.startswith(("| e6 | BLEU", "| e5 | BLEU")))
    assert first.endswith(" | 0.0 | 6 of 6 | yes |")
    assert second.endswith(" | 0.0 | 3 of 6 | 3 of 6 epochs trained (seed 1) |")


def test_the_epochs_of_what_a_system_is_built_on_count(two: Experiment) -> None:
    write_json(two.root / "exp/ctc/training.json", {"seconds": 1.0, "num_updates": 10, "num_epochs": 2})
    (two.root / "exp/ctc/config.yaml").write_text("max_epoch: 5\n", encoding="utf-8")
    paths = two.paths["e5", 1]
    two.add_paths(
        "e5",
        1,
        **{n: getattr(paths, n) for n in ("system_dir", "base_dir", "decode_dir")},
        ctc_dir=two.root / "exp/ctc",
    )
    assert row_of(two.table("e6 e5"), "e5")["flags"] == ["2 of 5 epochs trained of CTC (seed 1)"]


def test_a_score_without_a_control_is_not_judged(two: Experiment) -> None:
    file = two.root / "exp/e5.1/decode_test_beam4/score.json"
    write_json(file, {key: value for key, value in read_json(file).items() if not key.startswith("control_")})
    assert row_of(two.table("e6 e5"), "e5")["flags"] == ["no control (seed 1)"]


def test_a_score_of_an_older_version_without_ter_makes_the_same_table(two: Experiment) -> None:
    for row in ("e6", "e5"):
        file = two.root / f"exp/{row}.1/decode_test_beam4/score.json"
        old = {key: value for key, value in read_json(file).items() if "ter" not in key.split("_")}
        old["per_language"] = {
            name: {key: value for key, value in part.items() if "ter" not in key.split("_")}
            for name, part in old["per_language"].items()
        }
        write_json(file, old)
    table = two.table("e6 e5")
    assert "ter" not in row_of(table, "e5") and row_of(table, "e5")["difference"]["mean"] < 0
    assert "TER" not in two.page() and "| BLEU | chrF | less e6 | p | control |" in two.page()
