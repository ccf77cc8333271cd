"""COMET in an environment of its own: a package with COMET's interface, and COMET itself where there is one.

SPEECHLLAMA_COMET_PYTHON names the interpreter of an environment with unbabel-comet.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from speechllama.bin import score, score_comet
from speechllama.files import read_json, write_table
from speechllama.report.comet_scores import find_comet
from speechllama.report.decoded_set import score_path
from speechllama.report.results import results_path, write_results

NAMES = [f"u{number}" for number in range(6)]
REFERENCES = {name: f"the dog sees {number} big trees" for number, name in enumerate(NAMES)}
HYPOTHESES = {**REFERENCES, "u0": "the dog", "u1": "nothing"}
CONTROLS = dict.fromkeys(NAMES, "no tree")
SOURCES = {name: f"der Hund sieht {number} Bäume" for number, name in enumerate(NAMES)}
# The score of a segment is the share of the reference's words that the hypothesis has, less a hundredth for each of the
# source's: known by hand, and wrong where hypothesis, reference and source change places.
FAKE = """
import pathlib, types
SAID = pathlib.Path(__file__).with_name("said")

class RegressionMetric:
    def requires_references(self):
        return {needs_reference}

    def predict(self, segments, batch_size, gpus):
        with SAID.open("a") as stream:
            print(len(segments), batch_size, gpus, sorted(segments[0]), file=stream)
        scores = []
        for segment in segments:
            words = segment.get("ref", "a b").split()
            share = sum(word in segment["mt"].split() for word in words) / len(words)
            scores.append(share - 0.01 * len(segment["src"].split()))
        return types.SimpleNamespace(scores=scores)

def load_from_checkpoint(path):
    assert pathlib.Path(path).is_file(), path
    return RegressionMetric()

def download_model(name):
    snapshot = pathlib.Path(__file__).parent / "cache/snapshots/abc123/checkpoints"
    snapshot.mkdir(parents=True, exist_ok=True)
    (snapshot / "model.ckpt").write_text(name)
    return str(snapshot / "model.ckpt")
"""


class Environment:
    """An environment with a package that has COMET's interface."""

    def __init__(self, root: Path, needs_reference: bool = True) -> None:
        self.packages = root / "packages"
        (self.packages / "comet").mkdir(parents=True)
        source = FAKE.replace("{needs_reference}", str(needs_reference))
        (self.packages / "comet/__init__.py").write_text(source)
        info = self.packages / "unbabel_comet-9.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: unbabel-comet\nVersion: 9.9\n")
        self.python = root / "python"
        self.python.write_text(f'#!/bin/sh\nPYTHONPATH="{self.packages}" exec "{sys.executable}" "$@"\n')
        self.python.chmod(self.python.stat().st_mode | stat.S_IXUSR)
        self.model = root / "tiny-comet"
        (self.model / "checkpoints").mkdir(parents=True)
        (self.model / "checkpoints/model.ckpt").write_text("weights")

    def said(self) -> list[str]:
        """What it was asked."""
        path = self.packages / "comet/said"
        return path.read_text().splitlines() if path.is_file() else []


@pytest.fixture
def environment(tmp_path: Path) -> Environment:
    return Environment(tmp_path / "environment")


def write_set(root: Path, sources: dict[str, str] = SOURCES) -> None:
    """A decoded set and its control."""
    tables = {"text": REFERENCES, "src_text": sources, "utt2lang": dict.fromkeys(NAMES[:3], "de")}
    tables["utt2lang"] |= dict.fromkeys(NAMES[3:], "fr")
    for name, table in tables.items():
        write_table(root / "test" / name, table)
    write_table(root / "exp/st_e6/decode_test_beam4/text", HYPOTHESES)
    write_table(root / "exp/st_e6/decode_test_beam4_control/text", CONTROLS)


def run(root: Path, environment: Environment, model: str = "", *words: str) -> dict[str, Any]:
    """Compute COMET, then all scores."""
    decoded = root / "exp/st_e6/decode_test_beam4"
    data = ["--hyp_dir", str(decoded), "--control_dir", f"{decoded}_control", "--data_dir", str(root / "test")]
    comet = ["--model", model or str(environment.model), "--python", str(environment.python)]
    score_comet.main([*data, *comet, *words])
    score.main(data)
    return read_json(score_path(decoded))


def test_the_score_is_the_mean_over_utterances_with_interval_control_and_signature(
    tmp_path: Path, environment: Environment
) -> None:
    write_set(tmp_path)
    report = run(tmp_path, environment)
    expected = np.array([2 / 6, 0, 1, 1, 1, 1]) - 0.05
    assert report["comet"] == pytest.approx(100 * expected.mean(), abs=1e-3)
    assert report["control_comet"] == pytest.approx(-5.0, abs=1e-3)
    assert report["per_language"]["de"]["comet"] == pytest.approx(100 * expected[:3].mean(), abs=1e-3)
    draws = np.random.default_rng(12345).choice(len(expected), size=(1000, len(expected)), replace=True)
    means = np.sort(100 * expected[draws].mean(axis=1))
    half = (means[974] - means[25]) / 2  # sacreBLEU's interval is around the mean of the resamples
    ends = [means.mean() - half, means.mean() + half]
    assert [report["comet_low"], report["comet_high"]] == pytest.approx(ends, abs=0.01)
    signature = report["comet_signature"]
    assert signature.startswith("COMET|model:tiny-comet|fingerprint:") and "/" not in signature
    assert signature.endswith("|class:RegressionMetric|reads:src+mt+ref|scale:100|unbabel-comet:9.9|bs:1000|seed:12345")
    assert environment.said() == ["12 16 0 ['mt', 'ref', 'src']"]  # set and control in one run


def test_translations_in_the_place_of_transcripts_are_no_source(tmp_path: Path, environment: Environment) -> None:
    write_set(tmp_path, REFERENCES)
    with pytest.raises(ValueError, match="reads the source, and the set has no transcripts"):
        run(tmp_path, environment)


def test_the_pages_show_it_with_its_control_and_signature(tmp_path: Path, environment: Environment) -> None:
    write_set(tmp_path)
    report = run(tmp_path, environment)
    write_results(tmp_path / "exp")
    page = results_path(tmp_path / "exp").read_text(encoding="utf-8")
    assert "| TER % | COMET [95 %] | control BLEU | control COMET |" in page
    assert f"* `{report['comet_signature']}`" in page


def test_what_is_there_of_the_same_texts_and_model_is_not_computed_again(
    tmp_path: Path, environment: Environment
) -> None:
    write_set(tmp_path)
    run(tmp_path, environment)
    run(tmp_path, environment)
    assert len(environment.said()) == 1
    write_table(tmp_path / "exp/st_e6/decode_test_beam4/text", REFERENCES)  # decoded again
    report = run(tmp_path, environment)
    assert environment.said()[1].startswith("6 ") and report["comet"] == pytest.approx(95, abs=1e-3)


def test_scores_of_other_texts_are_refused(tmp_path: Path, environment: Environment) -> None:
    write_set(tmp_path)
    run(tmp_path, environment)
    write_table(tmp_path / "exp/st_e6/decode_test_beam4/text", REFERENCES)
    decoded = str(tmp_path / "exp/st_e6/decode_test_beam4")
    with pytest.raises(ValueError, match="comet.json: these scores are of other hypotheses or references; remove it"):
        score.main(["--hyp_dir", decoded, "--data_dir", str(tmp_path / "test")])


def test_a_model_of_the_hub_is_signed_with_its_revision(tmp_path: Path, environment: Environment) -> None:
    write_set(tmp_path)
    signature = run(tmp_path, environment, "Unbabel/wmt22-comet-da")["comet_signature"]
    assert signature.startswith("COMET|model:Unbabel/wmt22-comet-da|revision:abc123|fingerprint:")


def test_a_model_without_references_gets_none(tmp_path: Path) -> None:
    environment = Environment(tmp_path / "environment", needs_reference=False)
    write_set(tmp_path)
    assert "|reads:src+mt|" in run(tmp_path, environment)["comet_signature"]
    assert environment.said() == ["12 16 0 ['mt', 'src']"]


def test_a_model_that_reads_transcripts_is_refused_where_an_utterance_has_none(
    tmp_path: Path, environment: Environment
) -> None:
    write_set(tmp_path, {**SOURCES, "u3": ""})
    with pytest.raises(ValueError, match=r"RegressionMetric\) reads the source, and the set has no transcripts"):
        run(tmp_path, environment)


def test_an_environment_without_comet_is_refused_with_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no unbabel-comet in .*; make it an environment of its own .*pip install unb"):
        find_comet("")
    with pytest.raises(
        ValueError, match=r"--comet_python .*/none: cannot be run \(No such file or directory\); make it"
    ):
        find_comet(str(tmp_path / "none"))


def test_what_fails_in_comet_is_said(tmp_path: Path, environment: Environment) -> None:
    write_set(tmp_path)
    broken = environment.packages / "comet/__init__.py"
    broken.write_text(broken.read_text() + "\ndef load_from_checkpoint(path):\n    raise KeyError('no such layer')\n")
    with pytest.raises(ValueError, match=r"--comet_model .*tiny-comet: COMET: no such layer"):
        run(tmp_path, environment)


@pytest.mark.skipif(
    "SPEECHLLAMA_COMET_PYTHON" not in os.environ,
    reason="SPEECHLLAMA_COMET_PYTHON names no environment with unbabel-comet",
)
def test_a_real_model_gives_the_scores_of_comet_itself(tmp_path: Path) -> None:
    python = os.environ["SPEECHLLAMA_COMET_PYTHON"]
    write_set(tmp_path)
    segments = [{"src": SOURCES[name], "mt": HYPOTHESES[name], "ref": REFERENCES[name]} for name in NAMES]
    files = [tmp_path / name for name in ("tiny", "segments.json", "scores.json")]
    files[1].write_text(json.dumps(segments))
    maker = Path(__file__).with_name("tiny_comet.py")
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    subprocess.run([python, str(maker), *map(str, files)], check=True, env=environment, capture_output=True)
    decoded = tmp_path / "exp/st_e6/decode_test_beam4"
    words = ["--hyp_dir", str(decoded), "--data_dir", str(tmp_path / "test"), "--model", str(files[0])]
    score_comet.main([*words, "--python", python])
    found = read_json(decoded / "comet.json")
    assert list(found["scores"].values()) == pytest.approx(json.loads(files[2].read_text()), abs=1e-5)
    assert "|class:RegressionMetric|reads:src+mt+ref|" in found["signature"]
