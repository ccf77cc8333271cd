"""Pictures of a system: what is drawn is what its records say, anew only when these are newer."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import to_hex
from matplotlib.patches import Rectangle

from speechllama.bin import plot, write_results
from speechllama.faults import InputError, MissingFileError
from speechllama.files import read_json, write_json, write_table
from speechllama.report.pictures.files import find_trainings, list_pictures, read_curves, write_pictures
from speechllama.report.pictures.lengths import MAX_POINTS, draw_lengths, read_language_lengths
from speechllama.report.pictures.scores import draw_scores, languages_table
from speechllama.report.pictures.training import Curves, draw_trainings
from speechllama.training_record import read_epochs, training_record_path
from test.report.test_results import TRANSLATION


@pytest.fixture
def system(recipe: Any, tmp_path: Path) -> Path:
    """A copy of E6 of a recipe, with all that it is made from, a report on CTC and a score."""
    for name in ("ctc", "e5", "e6", "dev", "test"):
        shutil.copytree(recipe.root / name, tmp_path / name)
    cache = tmp_path / "compressed_frame_average"
    shutil.copytree(recipe.root / "dev/compressed", cache / "dev")
    config = tmp_path / "e6/config.yaml"
    text = config.read_text(encoding="utf-8").replace(str(recipe.root), str(tmp_path))
    config.write_text(text.replace(f"{tmp_path}/train/compressed", f"{cache}/train"), encoding="utf-8")
    part = {"compression_ratio": 5.5}
    report = {"compressor": "frame_average", "text_name": "src_text", "sets": {"dev": {"per_language": {"de": part}}}}
    write_json(cache / "report.json", report)
    write_json(tmp_path / "e6/decode_test_beam4/score.json", TRANSLATION)
    write_json(tmp_path / "e6/decode_test_beam4_control/score.json", TRANSLATION)
    return tmp_path / "e6"


def test_a_system_has_its_trainings_lengths_and_scores(system: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot.main(["--exp_dir", str(system)])
    files = sorted(path.name for path in (system / "pictures").iterdir())
    assert files == ["lengths_dev.svg", "scores_test_beam4.svg", "training.svg"]
    training, lengths, scores = (
        (system / f"pictures/{name}.svg").read_text(encoding="utf-8")
        for name in ("training", "lengths_dev", "scores_test_beam4")
    )
    assert re.findall(r">(stage \w+: \w+)</text>", training) == ["stage ctc: ctc", "stage train: e5", "stage lora: e6"]
    assert ">not measured</text>" in training, "CTC has no accuracy"
    assert ">de: 5.5</text>" in lengths and ">characters of the text</text>" in lengths
    assert re.findall(r">(all|de|fr)</text>", scores) == ["all", "de", "fr"]
    assert "BLEU; orange: all languages, line: 95 % interval, cross: control" in scores


def test_curves_are_those_of_the_checkpoint_at_the_end_and_before(recipe: Any, tmp_path: Path) -> None:
    record = read_json(training_record_path(recipe.root / "e5"))["epochs"]
    assert set(record) == {"1", "2"} and record["1"]["train"].keys() == {"loss", "accuracy", "learning_rate"}
    assert record["1"]["train"]["learning_rate"] == 0.01 and record["1"]["valid"].keys() == {"loss", "accuracy"}
    shutil.copyfile(recipe.root / "e5/checkpoint.pth", tmp_path / "checkpoint.pth")  # an older one has no more
    assert read_epochs(tmp_path) == read_epochs(recipe.root / "e5")
    (tmp_path / "checkpoint.pth").write_bytes((tmp_path / "checkpoint.pth").read_bytes()[:1000])
    with pytest.raises(InputError, match=r"checkpoint\.pth: cannot be read .*resume the training"):
        read_epochs(tmp_path)
    assert read_epochs(tmp_path / "nothing") == {}


def test_nothing_of_a_strangers_checkpoint_is_run(recipe: Any, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.mkdir, (str(tmp_path / "ran"),)

    state = torch.load(recipe.root / "e5/checkpoint.pth", weights_only=False)
    torch.save({**state, "schedulers": [Evil()]}, tmp_path / "checkpoint.pth")
    with pytest.raises(InputError, match=r"checkpoint\.pth: cannot be read: .* which might run code"):
        read_epochs(tmp_path)
    assert not (tmp_path / "ran").exists()


def test_averaged_epochs_are_marked(system: Path) -> None:
    trainings = find_trainings(system)
    assert [sorted(read_curves(training).averaged) for training in trainings] == [[1, 2]] * 3
    figure = draw_trainings([Curves("x", {1: phases(3.0), 2: phases(2.0)}, (2,))])
    loss = figure.axes[0]
    drawn = {line.get_label(): np.asarray(line.get_ydata()).tolist() for line in loss.lines[:2]}
    assert drawn == {"training": [3.0, 2.0], "validation": [4.0, 3.0]}
    assert [np.asarray(line.get_xdata()).tolist() for line in loss.lines[2:]] == [[2, 2]]


def phases(loss: float) -> dict[str, dict[str, float]]:
    return {"train": {"loss": loss, "learning_rate": 0.1}, "valid": {"loss": loss + 1}}


def test_accuracy_and_learning_rate_are_drawn_as_recorded(recipe: Any) -> None:
    record = read_epochs(recipe.root / "e5")
    figure = draw_trainings([Curves("ctc", {1: phases(3.0), 2: phases(2.0)}), Curves("e5", record)])
    labels = {"training": "train", "validation": "valid"}
    drawn: dict[tuple[str, str], tuple[list[float], list[float]]] = {}
    for axes, key in zip(figure.axes[1::2], ("loss", "accuracy", "learning_rate"), strict=True):
        for line in axes.lines:
            points = (np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist())
            drawn[key, labels[str(line.get_label())]] = points
    for (key, phase), (epochs, values) in drawn.items():
        assert epochs == [1, 2] and values == [record[epoch][phase][key] for epoch in (1, 2)], (key, phase)
    assert set(drawn) == {(key, phase) for key in ("loss", "accuracy") for phase in labels.values()} | {
        ("learning_rate", "train")
    }, "validation has no learning rate"
    _, _, accuracy, _, rate, _ = figure.axes
    assert (accuracy.get_ylabel(), rate.get_ylabel()) == ("accuracy", "learning rate")
    assert not accuracy.lines and [text.get_text() for text in accuracy.texts] == ["not measured"]
    assert np.asarray(rate.lines[0].get_ydata()).tolist() == [0.1, 0.1]


def test_bars_intervals_and_controls_are_those_of_the_score() -> None:
    (axes,) = draw_scores(languages_table(TRANSLATION)).axes
    assert [text.get_text() for text in axes.get_yticklabels()] == ["all", "de", "fr"]
    bars = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert [bar.get_width() for bar in bars] == [61.5, 60.0, 63.0]
    assert [to_hex(bar.get_facecolor()) for bar in bars] == [to_hex(name) for name in ("tab:orange", *["tab:blue"] * 2)]
    (interval,) = (each for each in axes.collections if isinstance(each, LineCollection))
    assert [segment.tolist() for segment in interval.get_segments()] == [[[58.25, 0.0], [64.75, 0.0]]]
    crosses = [(np.asarray(line.get_xdata()).tolist(), np.asarray(line.get_ydata()).tolist()) for line in axes.lines]
    assert crosses == [([14.5], [0]), ([13.0], [1]), ([16.0], [2])]


def test_each_row_of_a_table_has_its_own_interval() -> None:
    rows = [
        {**TRANSLATION, "row": name, "bleu_low": low, "bleu_high": low + 6.5}
        for name, low in (("E6", 58.25), ("E5", 40.0))
    ]
    (axes,) = draw_scores({"reference": "E6", "rows": rows}).axes
    intervals = [each for each in axes.collections if isinstance(each, LineCollection)]
    ends = [[segment.tolist() for segment in each.get_segments()] for each in intervals]
    assert ends == [[[[58.25, 0.0], [64.75, 0.0]]], [[[40.0, 1.0], [46.5, 1.0]]]]


def test_only_what_is_stale_is_drawn_again(system: Path) -> None:
    files = write_pictures(system)
    for file in files:
        file.write_text("kept", encoding="utf-8")
    assert write_pictures(system) == files and {file.read_text() for file in files} == {"kept"}
    score = system / "decode_test_beam4/score.json"
    newer = files[0].stat().st_mtime + 10
    os.utime(score, (newer, newer))
    write_pictures(system)
    assert [file.stem for file in files if file.read_text() != "kept"] == ["scores_test_beam4"]


def test_pictures_can_be_for_a_paper(system: Path, tmp_path: Path) -> None:
    files = write_pictures(system, tmp_path / "paper", "pdf")
    assert {file.suffix for file in files} == {".pdf"} and {file.parent for file in files} == {tmp_path / "paper"}


def test_a_folder_without_anything_to_draw_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no finished epoch, no report on CTC and no score to draw"):
        write_pictures(tmp_path)


def test_the_ctc_encoder_has_pictures_of_its_own(system: Path) -> None:
    shutil.copytree(system.parent / "compressed_frame_average", system.parent / "ctc/compressed_frame_average")
    pictures = list(list_pictures(system.parent / "ctc"))
    assert [picture.name for picture in pictures] == ["training", "compressed_frame_average_lengths_dev"]


def test_results_link_the_pictures(system: Path) -> None:
    exp = system.parent
    write_results.main(["--exp_dir", str(exp)])
    page = (exp / "RESULTS.md").read_text(encoding="utf-8")
    row = "\n| e6 | [training](e6/pictures/training.svg), [lengths_dev](e6/pictures/lengths_dev.svg), "
    _, _, pictures = page.partition("## Pictures\n\n| system | pictures |\n| --- | --- |")
    assert f"{row}[scores_test_beam4](e6/pictures/scores" in pictures  # other tests may have decoded other systems
    assert all((exp / link).is_file() for link in re.findall(r"\((e6/pictures/[^)]*)\)", page))


def test_a_picture_that_cannot_be_drawn_is_missing_on_the_page(system: Path) -> None:
    (system / "training.json").write_text("{", encoding="utf-8")
    write_results.main(["--exp_dir", str(system.parent)])
    page = (system.parent / "RESULTS.md").read_text(encoding="utf-8")
    assert "* e6: no pictures (e6/training.json:1: not JSON" in page and "| e6 | test |" in page


def test_lengths_are_those_of_the_tables(tmp_path: Path) -> None:
    names = [f"{'de' if index % 3 else 'fr'}_{index:04d}" for index in range(3 * MAX_POINTS)]
    write_table(tmp_path / "dev/src_text", {name: "x" * (index % 50 + 1) for index, name in enumerate(names)})
    write_table(tmp_path / "dev/utt2lang", {name: name[:2] for name in names})
    write_table(tmp_path / "dev/utt2num_frames", {name: str(index % 7 + 1) for index, name in enumerate(names)})
    write_table(tmp_path / "dev/utt2dur", dict.fromkeys(names, "1.40"))
    per_language = {"de": {"compression_ratio": 9.0}, "fr": {"compression_ratio": 8.0}}
    report = {"text_name": "src_text", "sets": {"dev": {"per_language": per_language}}}
    write_json(tmp_path / "report.json", report)
    german, french = read_language_lengths(tmp_path, "dev")
    assert (german.name, german.ratio, len(german.utterances)) == ("de", 9.0, 2 * MAX_POINTS)
    assert (french.name, french.ratio, len(french.utterances)) == ("fr", 8.0, MAX_POINTS)
    assert [each.characters for each in german.utterances] == sorted(each.characters for each in german.utterances)
    assert all(each.ratio == pytest.approx(140 / each.vectors) for each in german.utterances)
    points = [np.asarray(line.get_xdata()) for line in draw_lengths([german, french]).axes[0].lines]
    assert [len(line) for line in points] == [MAX_POINTS, 8, MAX_POINTS, 8], "points thinned out, a line of medians"
