"""The recipe of docs/your_own_corpus.md with the real programs, on real clips: its two files, and no other."""

from __future__ import annotations

import itertools
import shutil
from pathlib import Path

import pytest

from speechllama.data.tsv import read_tsv
from speechllama.files import read_json, read_table
from test.corpora.test_own import code_of_page
from test.test_recipes import STAGES, RecipeRun, stage_states

pytestmark = pytest.mark.recipe

CODE = ("speechllama", "utils", "tools", "egs/TEMPLATE")
VOICES = "common_voice_sample/cv-corpus-6.1-sample"
SETTINGS = ["--nj", "1", "--num_best", "1", "--ctc_num_best", "1", "--beam_size", "2"]
SETTINGS += ["--ctc_units", "60", "--target_units", "60", "--ctc_options", "--max_epoch 1"]
SETTINGS += ["--train_options", "--max_epoch 1", "--decode_options", "--max_tokens 20"]


def read_clips(shared_data: Path, language: str) -> list[list[str]]:
    """Real clips of a language: speaker, path, sentence."""
    table = shared_data / VOICES / language / "validated.tsv"
    return [list(row) for _, row in read_tsv(table, ("client_id", "path", "sentence"), [])]


def read_english(shared_data: Path) -> dict[str, str]:
    """English translations of German clips."""
    table = shared_data / "common_voice_sample/covost2/covost_v2.de_en.tsv"
    return {path: text for _, (path, text) in read_tsv(table, ("path", "translation"), [])}


def write_tables(folder: Path, columns: str, rows: list[str], sizes: tuple[int, int, int] = (40, 6, 8)) -> None:
    """Write rows as train.tsv, dev.tsv and test.tsv."""
    ends = list(itertools.accumulate(sizes, initial=0))
    for name, first, last in zip(("train", "dev", "test"), ends[:-1], ends[1:], strict=True):
        (folder / f"{name}.tsv").write_text("\n".join([columns, *rows[first:last]]) + "\n", encoding="utf-8")


def make_recipe(folder: Path, root: Path, name: str, program: str, more: list[str]) -> RecipeRun:
    """A checkout whose only recipe has this run.sh."""
    recipe = folder / "checkout/egs" / name
    recipe.mkdir(parents=True)
    for part in CODE:
        (folder / "checkout" / part).symlink_to(root / part)
    (recipe / "run.sh").write_text(program)
    (recipe / "run.sh").chmod(0o755)
    return RecipeRun(folder, folder / "checkout", name, [*SETTINGS, *more])


def run_whole(recipe: RecipeRun) -> None:
    """Run it from the first stage to the last."""
    states = stage_states(recipe.run())
    assert list(states) == STAGES
    assert all(state.startswith("done in") for state in states.values()), states


@pytest.fixture(scope="module")
def radio(shared_data: Path, tmp_path_factory: pytest.TempPathFactory, root: Path) -> RecipeRun:
    """The recipe of the page in a checkout of its own, run to its end with E6."""
    folder = tmp_path_factory.mktemp("stranger")
    corpus, english = folder / "my radio", read_english(shared_data)
    corpus.mkdir()
    (corpus / "clips").symlink_to(shared_data / VOICES / "de/clips")
    rows = [row for row in read_clips(shared_data, "de") if row[1] in english]
    lines = [f"clips/{path}\t{speaker}\t{text}\t{english[path]}" for speaker, path, text in rows]
    write_tables(corpus, "audio\tspeaker\ttranscript\ttranslation", lines)
    more = ["--corpus", str(corpus), "--llm", str(shared_data / "llama/stories260K")]
    recipe = make_recipe(folder, root, "radio", code_of_page("sh", "speech_llama --langs de "), more)
    local = Path(recipe.command[0]).with_name("local")
    local.mkdir()
    (local / "prepare.py").write_text(code_of_page("python", "def read_set"))
    run_whole(recipe)
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


def test_several_targets_go_through_every_stage_together(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory, root: Path
) -> None:
    folder = tmp_path_factory.mktemp("many")
    corpus, english = folder / "corpus", read_english(shared_data)
    corpus.mkdir()
    chinese = [sentence for *_, sentence in read_clips(shared_data, "zh-CN")]  # no translations: does it run
    german, french = (
        [(str(shared_data / VOICES / language / "clips" / path), path, sentence) for _, path, sentence in rows]
        for language, rows in ((each, read_clips(shared_data, each)) for each in ("de", "fr"))
    )
    rows = []
    for one, other, text in zip([row for row in german if row[1] in english], french, chinese, strict=False):
        rows.append(f"{one[0]}\t{one[2]}\t{english[one[1]]}\tde\ten")
        rows.append(f"{other[0]}\t{other[2]}\t{text}\tfr\tzh-CN")
    write_tables(corpus, "audio\tsentence\ttranslation\tlanguage\tinto", rows, (60, 8, 12))
    lines = ["#!/usr/bin/env bash", "# Two pairs.", "set -euo pipefail", ". ${0%/*}/../TEMPLATE/speech_llama.sh"]
    call = 'speech_llama --corpus_kind tsv --langs "de fr" --size small -- "$@"'
    more = ["--corpus", str(corpus), "--llm", str(shared_data / "llama/stories260K")]
    more += ["--data_options", "--lang_column language --target_column into"]
    recipe = make_recipe(folder, root, "pairs", "\n".join([*lines, call]) + "\n", more)
    run_whole(recipe)
    experiment = recipe.exp / "st_e6_small_stories260K"
    assert (folder / "dump/test/utt2target").is_file() and "{target}" in (experiment / "config.yaml").read_text()
    score = read_json(experiment / "decode_test_beam2/score.json")
    assert "bleu" not in score and score["num_utterances"] == 12  # BLEU of two tokenizers is not averaged
    assert {code: part["num_utterances"] for code, part in score["per_target"].items()} == {"en": 6, "zh-CN": 6}
    table = (recipe.exp / "RESULTS.md").read_text()
    assert "tok:zh" in table and "tok:13a" in table
