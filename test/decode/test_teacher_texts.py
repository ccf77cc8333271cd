"""Training sets of the texts that a teacher wrote."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from speechllama.bin import take_texts
from speechllama.config import read_yaml
from speechllama.data.skipped import Reason, read_skipped
from speechllama.decode.nbest import read_nbest
from speechllama.decode.teacher_texts import choose_texts
from speechllama.files import read_json, read_table
from speechllama.report.results import find_starts


def hypothesis(text: str, is_cut: bool = False, tokens: list[int] | None = None) -> dict[str, Any]:
    """A hypothesis as nbest.jsonl has it."""
    entry = {"text": text, "tokens": tokens or [5, 6, 7], "score": -1.0}
    return {**entry, "is_cut": True} if is_cut else entry


def test_texts_that_are_no_examples_are_left_out_each_with_its_reason() -> None:
    nbests = {
        "good": [hypothesis("The dog."), hypothesis("", is_cut=True)],
        "repeats": [hypothesis("no no no no", tokens=[8] * 9)],  # it ends by itself
        "nothing": [],
        "empty": [hypothesis(" ")],
        "cut": [hypothesis("The dog and", is_cut=True)],
        "runaway": [hypothesis("dog dog dog dog", is_cut=True, tokens=[1, *[8, 9] * 4])],
        "empty runaway": [hypothesis("", is_cut=True, tokens=[8] * 9)],
    }
    texts, skipped = choose_texts(nbests)
    assert texts == {"good": "The dog.", "repeats": "no no no no"}
    assert {name: skip.reason for name, skip in skipped.items()} == {
        "nothing": Reason.NO_TEXT,
        "empty": Reason.NO_TEXT,
        "cut": Reason.CUT,
        "runaway": Reason.RUNAWAY,
        "empty runaway": Reason.RUNAWAY,
    }


def write_nbest(folder: Path, texts: dict[str, list[dict[str, Any]]], control: bool = False) -> Path:
    """A decoded set as stage decode leaves it."""
    folder.mkdir(parents=True)
    lines: list[dict[str, Any]] = [{"stamp": {"control": control, "search": {"beam_size": 4}}, "report": {}}]
    lines += [{"utt": name, "nbest": nbest, "spent": 0.1} for name, nbest in texts.items()]
    (folder / "nbest.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def words(decode_dir: Path, data_dir: Path, output: Path) -> list[str]:
    """The command line of take_texts."""
    return [
        "--decode_dir",
        str(decode_dir),
        "--data_dir",
        str(data_dir),
        "--table",
        "text",
        "--output_dir",
        str(output),
    ]


@pytest.mark.parametrize("source", ["compressed", "dump"])
def test_a_student_learns_what_its_teacher_wrote(recipe: Any, tmp_path: Path, source: str) -> None:
    data = recipe.root / "train" / source
    names = list(read_table(data / "utt2spk"))
    texts = {name: [hypothesis(f"The dog {index}.")] for index, name in enumerate(names)}
    texts[names[0]] = [hypothesis("")]
    texts[names[1]] = [hypothesis("The dog and", is_cut=True)]
    output = recipe.root / "train" / f"{source}_taught"
    take_texts.main(words(write_nbest(tmp_path / "teach", texts), data, output))
    written = {name: texts[name][0]["text"] for name in names[2:]}
    assert read_table(output / "text") == written
    for table in ("utt2spk", "src_text", "utt2num_frames", "feats.scp" if source == "dump" else "compressed.scp"):
        before = read_table(data / table)
        assert read_table(output / table) == {name: before[name] for name in names[2:]}, table
    report = read_json(output / "taught.json")
    assert (report["num_utterances"], report["num_kept"]) == (12, 10)
    assert [report[f"num_{what}"] for what in ("no_text", "cut", "runaway")] == [1, 1, 0]
    assert report["search"] == {"beam_size": 4}
    assert {*read_skipped(output / "skipped")} == {*names[:2]}
    assert "kept 10 of 12 texts of the teacher" in (output / "taught.md").read_text()
    if source == "compressed":
        train_student(recipe, "student", output, list(written))


def test_a_student_learns_what_the_search_of_its_teacher_found(recipe: Any) -> None:
    search = ("--no_repeat_ngram_size", "1", "--tokens_per_second", "400")  # so that its texts end
    written = recipe.decode("e6", "compressed", "teach_train", *search, part="train")
    output = recipe.root / "train/compressed_by_e6"
    take_texts.main(words(recipe.root / "teach_train", recipe.root / "train/compressed", output))
    taught, skipped = read_table(output / "text"), read_skipped(output / "skipped")
    assert taught == {name: text for name, text in written.items() if name not in skipped}
    assert taught and {*taught} | {*skipped} == {*read_table(recipe.root / "train/compressed/text")}
    student = train_student(recipe, "student_of_e6", output, list(taught))
    learned = [entry[0] for entry in student["train_data_path_and_name_and_type"]]
    assert f"{output}/text" in learned and all(Path(place).parent == output for place in learned)


def train_student(recipe: Any, name: str, taught: Path, names: list[str]) -> dict[str, Any]:
    """Count the positions of a teacher's training set, then train on it, as stage train does; give the config.yaml."""
    from speechllama.bin import collect_llm_stats, llm_train

    command, shape = recipe.llm_command(name, max_epoch=1), recipe.root / f"train/{name}_shape"
    words = ["--config", str(recipe.root / f"{name}.yaml"), "--llm_dir", str(recipe.root / "llm")]
    words += ["--ctc_dir", str(recipe.root / "ctc"), "--data_dir", str(taught), "--output_file", str(shape)]
    collect_llm_stats.main(words)
    assert list(read_table(shape)) == names
    command = [word.replace("train/compressed/", f"train/{taught.name}/") for word in command]
    llm_train.main([word.replace("train/compressed_llm_shape", f"train/{name}_shape") for word in command])
    assert (recipe.root / name / "1epoch.pth").is_file()
    config: dict[str, Any] = read_yaml(recipe.root / name / "config.yaml")
    return config


def test_what_is_no_training_set_of_a_teacher_is_refused(recipe: Any, tmp_path: Path) -> None:
    data = recipe.root / "train/compressed"
    names = list(read_table(data / "utt2spk"))
    texts = {name: [hypothesis("The dog.")] for name in names}
    control = write_nbest(tmp_path / "control", texts, control=True)
    with pytest.raises(ValueError, match="control/nbest.jsonl: the texts of a control"):
        take_texts.main(words(control, data, tmp_path / "out"))
    part = write_nbest(tmp_path / "part", {name: texts[name] for name in names[3:]})
    with pytest.raises(ValueError, match="the teacher wrote nothing of 3 of the 12 utterances"):
        take_texts.main(words(part, data, tmp_path / "out"))
    empty = write_nbest(tmp_path / "empty", {name: [] for name in names})
    with pytest.raises(ValueError, match="kept 0 of 12 texts(.|\n)*train the teacher better"):
        take_texts.main(words(empty, data, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_a_teacher_need_not_be_decoded_itself(tmp_path: Path) -> None:
    settings = {"st_e5": "{}", "st_e6": "init_system: e5", "st_s": "teacher_system: e6", "st_s_x": "teacher_system: e6"}
    for name, text in settings.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "config.yaml").write_text(text)
    assert find_starts([tmp_path / name for name in settings]) == {"st_e5", "st_e6"}


def test_what_a_real_search_has_cut_is_counted_as_the_search_counts_it(recipe: Any, tmp_path: Path) -> None:
    recipe.decode("e6", "compressed", "teacher_of_test", "--tokens_per_second", "3")
    entries = read_nbest(recipe.root / "teacher_of_test").entries
    texts, skipped = choose_texts(entries)
    reasons = Counter(skip.reason for skip in skipped.values())
    decoded = read_json(recipe.root / "teacher_of_test/decode.json")
    assert reasons[Reason.CUT] + reasons[Reason.RUNAWAY] == decoded["num_cut"] > 0
    assert reasons[Reason.RUNAWAY] == decoded["num_runaway"]
    assert len(texts) + len(skipped) == len(entries) == 6
