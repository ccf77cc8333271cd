"""The page of a model says what the reports say: scores with signature and control, data, licences, limits."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from speechllama.files import read_json, write_json
from speechllama.report.results import results_path, write_results
from speechllama.share.card import write_card
from speechllama.share.facts import collect_facts, find_licence


@pytest.fixture(scope="module")
def card(scored: Path) -> str:
    return write_card(collect_facts(scored / "e6", "org/noise", "cc-by-4.0"))


@pytest.fixture(scope="module")
def report(scored: Path) -> dict[str, Any]:
    return read_json(scored / "e6/decode_test_beam2/score.json")


def test_the_metadata_are_what_a_hub_reads(card: str, report: dict[str, Any]) -> None:
    from huggingface_hub import ModelCard

    about = yaml.safe_load(card.split("---\n")[1])
    assert about["language"] == ["de", "en"] and about["license"] == "cc-by-4.0"
    assert about["library_name"] == "speechllama" and "speech-translation" in about["tags"]
    assert "base_model" not in about  # the LLM is a directory of this machine
    (found,) = about["model-index"]
    bleu = next(entry for result in found["results"] for entry in result["metrics"] if entry["type"] == "bleu")
    assert bleu["value"] == report["bleu"]
    assert bleu["args"] == {"signature": report["signature"], "control": report["control_bleu"]}
    read_back = ModelCard(card).data.to_dict()["model-index"][0]["results"][0]
    assert read_back["dataset"] == {"name": "Noise, compressed", "type": "noise", "split": "compressed"}


def test_the_page_has_the_scores_with_signature_and_control(card: str, report: dict[str, Any]) -> None:
    assert f"{report['bleu']:.2f} [{report['bleu_low']:.2f}, {report['bleu_high']:.2f}]" in card
    assert f"* `{report['signature']}`" in card
    assert f"with the audio of another utterance BLEU {report['control_bleu']:.2f}: only" in card
    assert "python3 -m speechllama.bin.decode" in card and "## Other systems of the same recipe" in card
    assert report.get("warning", "") in card


def test_its_scores_are_those_of_the_recipes_page_of_results(scored: Path, tmp_path: Path) -> None:
    exp = shutil.copytree(scored, tmp_path / "exp")
    for system, bleu in (("e5", 12.34), ("e6", 23.456)):  # those of noise are all but 0
        path = exp / system / "decode_test_beam2/score.json"
        write_json(
            path,
            {**read_json(path), "bleu": bleu, "bleu_low": bleu - 1, "bleu_high": bleu + 2, "control_bleu": bleu / 4},
        )
    write_results(exp, "Noise")
    card, page = write_card(collect_facts(exp / "e6", "org/noise")), results_path(exp).read_text(encoding="utf-8")
    (row,), (others,) = table_rows(card, "e6"), table_rows(card, "e5")
    assert table_rows(page, "e6") == [row] and table_rows(page, "e5") == [others]
    assert (row["BLEU [95 %]"], row["control BLEU"]) == ("23.46 [22.46, 25.46]", "5.86")
    (about,) = yaml.safe_load(card.split("---\n")[1])["model-index"]
    metric = next(each for each in about["results"][0]["metrics"] if each["type"] == "bleu")
    assert (metric["value"], metric["args"]["control"]) == (23.456, 5.864)


def table_rows(page: str, system: str) -> list[dict[str, str]]:
    """The rows of a system in the tables of BLEU, as heading -> cell."""
    rows: list[dict[str, str]] = []
    headings: list[str] = []
    for line in page.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")] if line.startswith("|") else []
        headings = (headings or cells) if cells else []
        if cells[:1] == [system] and "BLEU [95 %]" in headings:
            rows.append(dict(zip(headings, cells, strict=True)))
    return rows


def test_the_page_says_how_it_is_used_what_it_learned_and_its_limits(card: str) -> None:
    assert 'translate = Speech2Text.from_pretrained("org/noise")\nprint(translate("clip.mp3")[0].text)\n' in card
    assert "Speech translation from German into English. Speech-LLaMA (arXiv 2307.03917)" in card
    assert "adapted by LoRA of rank 2, with a non-causal mask" in card
    assert "Recipe: Noise." in card and "| German | 12 |" in card
    assert "utterances of up to 1." in card and "It has learned from German only" in card
    assert "* This model: cc-by-4.0.\n* LLM: `tiny`, licence not stated." in card


def test_an_experiment_without_scores_says_so(recipe: Any) -> None:
    card = write_card(collect_facts(recipe.root / "e5", "e5.zip"))
    assert "None of its decoded sets has been scored." in card and "* This model: not stated." in card
    assert "model-index" not in card and "license" not in card.split("---\n")[1]


def test_a_licence_is_that_of_the_llms_own_page(tmp_path: Path) -> None:
    for text, expected in (("---\nlicense: mit\n---\n", "mit"), ("No metadata.", ""), ("---\n- 1\n---\n", "")):
        (tmp_path / "README.md").write_text(text)
        assert find_licence(tmp_path, "", None) == expected
    (tmp_path / "README.md").unlink()
    assert find_licence(tmp_path, "", None) == ""
