"""Whole recipes into another language than English, and into two: the prompts, the recipe's own LLM, and the scores."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import transformers

from speechllama.data.tsv import read_tsv
from speechllama.files import read_json, read_table
from test.corpora.covost2.test_pairs import write_english_tables
from test.test_recipes import STAGES, RecipeRun, stage_states

pytestmark = pytest.mark.recipe


def test_the_recipes_own_llm_and_its_prompts_follow_the_target_language(
    tmp_path_factory: pytest.TempPathFactory, root: Path
) -> None:
    settings = ["--langs", "fr es", "--target_lang", "de", "--ctc_units", "80", "--stop_stage", "7"]
    settings += ["--data_options", "--num_train 40 --num_dev 9 --num_test 9 --num_llm_text 200"]
    settings += ["--ctc_options", "--max_epoch 1", "--llm_options", "--num_steps 10"]
    recipe = RecipeRun(tmp_path_factory.mktemp("mini into German"), root, "mini_covost2", settings)
    output = recipe.run()
    states = stage_states(output)
    assert list(states) == STAGES[:8] and all(state.startswith("done in") for state in states.values()), states
    assert "Translate the speech to German: " in output and "to English" not in output
    data = recipe.exp.with_name("data")
    text = [row for _, row in read_tsv(recipe.downloads / "llm_text.tsv", ("lang", "translation"), [])]
    words = {word.strip(".?!") for _, sentence in text for word in sentence.split()}
    assert {language for language, _ in text} == {"fr", "es"} and "der" in words and "the" not in words
    report = (data / "report.md").read_text()
    assert all(f"| {language} | train | 20 | 20 |" in report for language in ("fr", "es"))
    record = read_json(recipe.exp / "llm/llm.json")
    assert record["text_bleu"] >= 0 and "tok:13a" in record["text_bleu_signature"]
    (example,) = re.findall(r"^    (.*) ->", (recipe.exp / "llm/report.md").read_text(), re.MULTILINE)
    assert example in read_table(data / "dev/src_text").values()
    tokenizer = transformers.AutoTokenizer.from_pretrained(recipe.exp / "llm/model")
    # Its tokenizer was trained on its prompts, where the target's name is so frequent that it became one token.
    assert "▁German:" in tokenizer.get_vocab() and "▁English:" not in tokenizer.get_vocab()


def test_real_english_clips_go_into_two_languages_through_every_stage(
    shared_data: Path, tmp_path_factory: pytest.TempPathFactory, root: Path
) -> None:
    pytest.importorskip("MeCab", reason="needs MeCab: pip install -e '.[ja]'")
    folder, sample = tmp_path_factory.mktemp("covost2 from English"), shared_data / "common_voice_sample"
    write_english_tables(sample, folder / "tables", num_clips=50)
    settings = ["--common_voice", str(sample), "--covost2", str(folder / "tables"), "--direction", "en_x"]
    settings += ["--langs", "de ja", "--data_options", "--drop_overlap false", "--nj", "1", "--size", "small"]
    settings += ["--llm", str(shared_data / "llama/stories260K"), "--ctc_units", "60", "--num_best", "1"]
    settings += ["--ctc_options", "--max_epoch 1", "--train_options", "--max_epoch 1", "--ctc_num_best", "1"]
    settings += ["--beam_size", "2", "--decode_options", "--max_tokens 20"]
    recipe = RecipeRun(folder, root, "covost2", settings)
    output = recipe.run()
    states = stage_states(output)
    assert list(states) == STAGES
    assert all(state.startswith("done in") for state in states.values()), states
    assert all(f"Translate the speech to {language}: " in output for language in ("German", "Japanese"))
    assert {*read_table(folder / "dump/test/utt2target").values()} == {"de", "ja"}
    score = read_json(recipe.exp / "st_e6_small_stories260K/decode_test_beam2/score.json")
    assert score["num_utterances"] == 20 and not {"bleu", "control_bleu", "chrf"} & set(score)  # no average
    assert {code: part["num_utterances"] for code, part in score["per_target"].items()} == {"de": 10, "ja": 10}
    for code, tokenizer in (("de", "tok:13a"), ("ja", "tok:ja-mecab")):
        part = score["per_target"][code]
        assert {"bleu", "control_bleu", "chrf"} <= set(part) and tokenizer in part["signature"]
