"""Tasks of label tables, through all stages of the tiny recipe: the language, and any table by its name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from speechllama.bin import (
    average_checkpoints,
    collect_llm_stats,
    decode,
    llm_train,
    make_scratch_llm,
    score,
    take_subset,
)
from speechllama.data.data_dir import DataDir, find_tables, read_data_dir
from speechllama.decode.control import exchange
from speechllama.files import read_json, read_table, write_table
from speechllama.llm.files import load_tokenizer
from speechllama.llm.record import read_llm_record
from speechllama.report.decoded_set import score_path
from speechllama.text.prompt import PromptConfig, PromptText
from speechllama.text.tasks import ACCURACY, TASKS, Task
from speechllama.train.speech_llama import SpeechLlamaPreprocessor
from speechllama.train.task_mixture import TaskMixture


@pytest.fixture(scope="module")
def sets(recipe: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sets of the trained recipe, every second utterance French; with a further table of labels."""
    tables = {"utt2lang": ("de", "fr"), "utt2mood": ("calm", "glad", "calm")}
    copied: Path = recipe.copy_sets(tmp_path_factory.mktemp("sets"), tables)
    return copied


@pytest.fixture
def mood(add: Callable[..., Task]) -> Task:
    """A task that somebody adds: one record."""
    prompt, places = "Which mood? {audio} Mood:", ("score_labels", "accuracy_metric")
    scorer, compared_by = (f"speechllama.report.labels:{place}" for place in places)
    labels = "speechllama.text.tasks:same"
    return add(TASKS, Task("mood", "Mood", "utt2mood", prompt, (ACCURACY,), scorer, compared_by, labels=labels))


def run_stages(recipe: Any, sets: Path, task: str) -> Path:
    """Count positions, train, average, decode with the control, score."""
    config = recipe.config(f"{task}_e5", audio_encoder_conf=recipe.sizes, batch_bins=300, max_epoch=1)
    base = ["--llm_dir", str(recipe.root / "llm"), "--ctc_dir", str(recipe.root / "ctc")]
    shapes = [[str(sets / f"{part}.{task}.shape")] for part in ("train", "dev")]
    data = ["--data_dir", str(sets / "train"), str(sets / "dev"), "--output_file", *(shape[0] for shape in shapes)]
    reference = TASKS[task].reference
    collect_llm_stats.main(["--config", config, *base, *data, "--task", task, "--text_name", reference])
    tables = ("compressed.scp,compressed,kaldi_ark", f"{reference},text,text", "utt2lang,lang,text")
    read = [[str(sets / part / table) for table in tables] for part in ("train", "dev")]
    folder = sets / f"{task}_e5"
    words = ["--config", config, "--output_dir", str(folder), "--task_name", task]
    llm_train.main([*words, *base, *recipe.options(read, shapes)])
    average_checkpoints.main(["--exp_dir", str(folder), "--num_best", "1"])
    decoded = [folder / "decode_test", folder / "decode_test_control"]
    for output, control in zip(decoded, ("false", "true"), strict=True):
        place = ["--exp_dir", str(folder), "--data_dir", str(sets / "test"), "--output_dir", str(output)]
        decode.main([*place, "--control", control, "--nbest", "1"])
    words = ["--hyp_dir", str(decoded[0]), "--control_dir", str(decoded[1]), "--data_dir", str(sets / "test")]
    score.main([*words, "--task", task])
    return folder


def test_the_language_goes_through_all_stages(recipe: Any, sets: Path) -> None:
    folder = run_stages(recipe, sets, "lid")
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert settings["task_name"] == "lid" and settings["prompt_conf"]["template"] == TASKS["lid"].prompt
    tokenizer = load_tokenizer(*read_llm_record(str(recipe.root / "llm")))
    lengths = {code: len(tokenizer(name, add_special_tokens=False).input_ids) for code, name in NAMED.items()}
    counts, vectors = read_table(sets / "train.lid.shape"), read_data_dir(sets / "train").num_frames
    rest = {
        int(counts[utt]) - vectors[utt] - lengths[code] for utt, code in read_table(sets / "train/utt2lang").items()
    }
    assert len(rest) == 1, "prompt and end are the same for all: the text is the name of the language"
    report = read_json(score_path(folder / "decode_test"))
    assert (report["task"], report["num_utterances"], set(report["per_language"])) == ("lid", 6, {"de", "fr"})
    assert set(report["confusion"]) == {"German", "French"} and "control_accuracy" in report
    assert report["signature"].startswith("accuracy|match:exact-text|bs:1000")


NAMED = {"de": "German", "fr": "French"}


def test_any_table_is_one_record_away(recipe: Any, sets: Path, mood: Task, tmp_path: Path) -> None:
    report = read_json(score_path(run_stages(recipe, sets, mood.name) / "decode_test"))
    assert (report["task"], set(report["confusion"])) == ("mood", {"calm", "glad"})
    # Each stage copies the table to the next.
    take_subset.main(["--data_dir", str(sets / "test"), "--output_dir", str(tmp_path / "part"), "--number", "3"])
    moods, part = read_table(sets / "test/utt2mood"), read_table(tmp_path / "part/utt2mood")
    assert len(part) == 3 and part.items() <= moods.items()


def test_a_table_that_no_task_names_is_no_table(sets: Path) -> None:
    assert "utt2mood" not in find_tables(sets / "test")


def test_training_reads_the_name_of_the_label(tiny_llm: Path) -> None:
    from speechllama.text.prompt import Prompt

    prompt = Prompt(PromptConfig(), "lid", load_tokenizer(str(tiny_llm)))
    preprocessor = SpeechLlamaPreprocessor({"lid": prompt}, TaskMixture(TASKS["lid"], {}, seed=1))
    arrays = preprocessor("a", {"text": "de", "lang": "de"})
    assert arrays["text"].tolist() == prompt.encode("German")


def test_a_prompt_that_names_the_language_is_refused_where_it_is_to_be_found() -> None:
    with pytest.raises(ValueError, match="names the language, which the task lid is to find out"):
        PromptText(PromptConfig(by_task={"lid": "This {language} speech: {audio}"}), "lid")
    assert PromptText(PromptConfig(), "lid").fill(TASKS["lid"].prompt) == (
        "Name the language of the speech: ",
        " Language:",
    )


def test_the_control_of_labels_exchanges_audio_across_languages() -> None:
    names = [f"{language}-{target}-{n}" for language in ("en", "fr") for target in ("de", "ja") for n in range(9)]
    tables = {
        "text": {name: name for name in names},
        "utt2lang": {name: name.split("-")[0] for name in names},
        "utt2target": {name: name.split("-")[1] for name in names},
    }
    data = DataDir(Path("data"), tables)
    kept, free = exchange(names, data), exchange(names, data, keeps_language=False)
    assert all(name[:2] == other[:2] for name, other in kept.items())
    assert sorted(free.values()) == sorted(names) and any(name[:2] != other[:2] for name, other in free.items())


def test_the_llm_of_a_decoder_only_system_learns_the_names(tmp_path: Path) -> None:
    write_table(tmp_path / "utt2lang", {f"u{n}": ("de", "fr")[n % 2] for n in range(20)})
    config = tmp_path / "decoder.yaml"
    config.write_text("num_layers: 1\nwidth: 8\nnum_heads: 1\nffn_dim: 16\nvocab_size: 30\n")
    words = ["--config", str(config), "--text", str(tmp_path / "utt2lang"), "--output_dir", str(tmp_path / "llm")]
    make_scratch_llm.main([*words, "--task", "lid"])
    tokenizer = load_tokenizer(*read_llm_record(str(tmp_path / "llm")))
    for name in NAMED.values():
        ids = tokenizer(name, add_special_tokens=False).input_ids
        assert tokenizer.decode(ids, skip_special_tokens=True).strip() == name
