"""The recipe of docs/your_own_corpus.md with the real programs, on real clips: its two files, and no other."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from speechllama.data.tsv import read_tsv
from speechllama.files import read_json, read_table
from test.corpora.test_own import code_of_page
from test.test_recipes import STAGES, RecipeRun, stage_states

pytestmark = pytest.mark.recipe

CODE = ("speechllama", "utils", "tools", "egs/TEMPLATE")


def write_radio(shared_data: Path, folder: Path) -> None:
    """Write German clips with English translations in the form that the page's program reads."""
    place, tables = (
        shared_data / "common_voice_sample/cv-corpus-6.1-sample/de",
        shared_data / "common_voice_sample/covost2",
    )
    english = {path: text for _, (path, text) in read_tsv(tables / "covost_v2.de_en.tsv", ("path", "translation"), [])}
    rows = [row for _, row in read_tsv(place / "validated.tsv", ("client_id", "path", "sentence"), [])]
    rows = [row for row in rows if row[1] in english]
    folder.mkdir()
    (folder / "clips").symlink_to(place / "clips")
    for name, first, last in (("train", 0, 40), ("dev", 40, 46), ("test", 46, 54)):
        lines = ["audio\tspeaker\ttranscript\ttranslation"]
        lines += [f"clips/{path}\t{client}\t{text}\t{english[path]}" for client, path, text in rows[first:last]]
        (folder / f"{name}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")


@pytest.fixture(scope="module")
def radio(shared_data: Path, tmp_path_factory: pytest.TempPathFactory, root: Path) -> RecipeRun:
    """The recipe of the page in a checkout of its own, run to its end with E6."""
    folder = tmp_path_factory.mktemp("stranger")
    local = folder / "checkout/egs/radio/local"
    local.mkdir(parents=True)
    for name in CODE:
        (folder / "checkout" / name).symlink_to(root / name)
    local.with_name("run.sh").write_text(code_of_page("sh", "speech_llama --langs de "))
    local.with_name("run.sh").chmod(0o755)
    (local / "prepare.py").write_text(code_of_page("python", "def read_set"))
    write_radio(shared_data, folder / "my radio")
    settings = ["--corpus", str(folder / "my radio"), "--llm", str(shared_data / "llama/stories260K"), "--nj", "1"]
    settings += ["--ctc_units", "60", "--target_units", "60", "--ctc_options", "--max_epoch 1"]
    settings += ["--train_options", "--max_epoch 1", "--num_best", "1", "--ctc_num_best", "1", "--beam_size", "2"]
    recipe = RecipeRun(folder, folder / "checkout", "radio", [*settings, "--decode_options", "--max_tokens 20"])
    states = stage_states(recipe.run())
    assert list(states) == STAGES
    assert all(state.startswith("done in") for state in states.values()), states
    return recipe


def test_the_two_files_of_the_page_are_a_whole_recipe(radio: RecipeRun) -> None:
    score = read_json(radio.exp / "st_e6_small_stories260K/decode_test_beam2/score.json")
    assert score["num_utterances"] == 8 and {"bleu", "control_bleu"} <= set(score)
    assert (radio.exp.with_name("data") / "report.md").read_text().startswith("# Radio: what was kept")
    assert not [path for path in radio.exp.rglob("*.log") if "Traceback" in path.read_text(errors="replace")]


def test_baselines_recognition_and_a_table_need_three_lines_more(radio: RecipeRun) -> None:
    table = Path(radio.command[0]).with_name("run_table.sh")
    lines = ["#!/usr/bin/env bash", "# A table.", "set -euo pipefail", f". {table.parent}/../TEMPLATE/table.sh"]
    table.write_text("\n".join([*lines, 'run_table --systems "E6 B1 B2 E6:asr" --reference E6 -- "$@"']) + "\n")
    table.chmod(0o755)
    radio.run_table("--stage", "1")
    page = (radio.exp / "RESULTS.md").read_text()
    assert all(f"| {row} |" in page for row in ("e6", "b1", "b2", "e6:asr"))
    assert "Language pair: de to en." in page


def test_a_set_without_references_is_decoded_and_not_scored(radio: RecipeRun) -> None:
    data, other = radio.exp.with_name("data") / "test", radio.exp.with_name("unlabelled")
    shutil.copytree(data, other)
    for name in ("text", "src_text"):
        (other / name).write_text("".join(f"{utterance}\n" for utterance in read_table(data / "text")))
    radio.run("--sets", f"test {other}", "--stage", "2")
    decoded = radio.exp / "st_e6_small_stories260K/decode_unlabelled_beam2"
    assert read_table(decoded / "text").keys() == read_table(data / "text").keys()
    score = read_json(decoded / "score.json")
    assert "no references in" in score["unscored"] and "bleu" not in score
    assert "Decoded, not scored" in (radio.exp / "RESULTS.md").read_text()


def test_a_part_of_the_test_set_is_decoded_on_request(radio: RecipeRun) -> None:
    radio.run("--subset", "3", "--stage", "10")
    decoded = radio.exp / "st_e6_small_stories260K/decode_test_subset3_beam2"
    assert len(read_table(decoded / "text")) == 3 and read_json(decoded / "score.json")["num_utterances"] == 3
