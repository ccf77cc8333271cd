"""The pictures of a system: which there are, their files, and which of them are older than their data.

exp/<system> -> exp/<system>/pictures/{training,lengths_<set>,scores_<set>_beam<n>}.svg
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from speechllama.faults import MissingFileError
from speechllama.figure import save_figure
from speechllama.files import find_path, read_json
from speechllama.report.ctc import COMPRESSED_PREFIX, ctc_report_path
from speechllama.report.decoded_set import expand_targets, find_decode_dirs, score_path
from speechllama.report.pictures.lengths import draw_lengths, read_language_lengths
from speechllama.report.pictures.scores import draw_scores, languages_table
from speechllama.report.pictures.training import Curves, draw_trainings
from speechllama.report.table.run import read_settings
from speechllama.text.tasks import TASKS, task_of
from speechllama.training_record import average_record_path, read_epochs, training_files

if TYPE_CHECKING:
    from matplotlib.figure import Figure

DECODE_PREFIX = "decode_"


@dataclass(frozen=True)
class Picture:
    """A picture of a system.

    Attributes:
        name: Of its file, without suffix.
        inputs: What it is drawn from; newer ones make it stale.
        draw: Draws it.
    """

    name: str
    inputs: tuple[Path, ...]
    draw: Callable[[], Figure]


class Training(NamedTuple):
    """A training: the stage that ran it, its directory, and the record of the average of its epochs."""

    stage: str
    folder: Path
    average: Path


def pictures_dir(system_dir: str | Path) -> Path:
    """Name the folder of a system's pictures."""
    return Path(system_dir) / "pictures"


def write_pictures(system_dir: str | Path, output_dir: str | Path = "", format_name: str = "svg") -> list[Path]:
    """Draw all pictures of a system that are not there yet, or are older than their data.

    Args:
        system_dir: Its experiment, or that of a CTC encoder.
        output_dir: Where to; empty: `pictures_dir`.
        format_name: "svg", "pdf" or "png".

    Returns:
        The files of all its pictures.

    Raises:
        FileNotFoundError: There is nothing to draw.
        ValueError: A file that a picture is drawn from cannot be read.
    """
    folder, files = Path(output_dir or pictures_dir(system_dir)), []
    for picture in list_pictures(Path(system_dir)):
        path = folder / f"{picture.name}.{format_name}"
        if not is_newer(path, picture.inputs):
            save_figure(picture.draw(), path)
        files.append(path)
    if not files:
        raise MissingFileError(
            f"{system_dir}: no finished epoch, no report on CTC and no score to draw; give the directory of a system, "
            "such as exp/st_e6, or that of a CTC encoder"
        )
    return files


def is_newer(path: Path, inputs: tuple[Path, ...]) -> bool:
    """Whether a file is there and no older than what it is made from."""
    return path.is_file() and all(path.stat().st_mtime >= file.stat().st_mtime for file in inputs)


def list_pictures(system_dir: Path) -> Iterator[Picture]:
    """Find out which pictures can be drawn of a system."""
    trainings = find_trainings(system_dir)
    if trainings:
        records = [file for training in trainings for file in training_files(training.folder)]
        yield Picture("training", tuple(records), lambda: draw_trainings([read_curves(each) for each in trainings]))
    for compressed_dir in find_caches(system_dir):
        ctc_report = ctc_report_path(compressed_dir)
        sets = read_json(ctc_report)["sets"]
        for name in [name for name in sets if (compressed_dir / name / "utt2num_frames").is_file()]:
            prefix = f"{compressed_dir.name}_" if compressed_dir.parent == system_dir else ""  # of several
            yield Picture(f"{prefix}lengths_{name}", (ctc_report,), partial(_draw_cache, compressed_dir, name))
    for folder in [folder for folder in find_decode_dirs(system_dir.parent) if folder.parent == system_dir]:
        file = score_path(folder)
        report = read_json(file) if file.is_file() else {}
        parts = expand_targets(report) if report.get("task") in TASKS else []
        if any(task_of(part).ranks_by.name in part for part in parts):
            name = f"scores_{folder.name.removeprefix(DECODE_PREFIX)}"
            yield Picture(name, (file,), partial(draw_scores, languages_table(report), "all languages"))


def find_trainings(system_dir: Path) -> list[Training]:
    """Find the trainings that made a system, in order: its CTC encoder, what it starts from, its own.

    A training without a finished epoch, or whose record is elsewhere, is left out.
    """
    settings = read_settings(system_dir)
    ctc_dir, start = (find_path(str(settings.get(key) or ""), system_dir) for key in ("ctc_dir", "init_from"))
    trainings = [Training("ctc", Path(ctc_dir), average_record_path(ctc_dir))] if ctc_dir else []
    if start:  # its average, made for this purpose, with the name of the training
        average = average_record_path(start)
        of = str(read_json(average).get("of", "")) if average.is_file() else ""
        trainings.append(Training("train", Path(find_path(of, system_dir) if of else start), average))
    stage = "ctc" if settings.get("num_units") and not settings.get("model") else "lora" if start else "train"
    trainings.append(Training(stage, system_dir, average_record_path(system_dir)))
    return [training for training in trainings if read_epochs(training.folder)]


def read_curves(training: Training) -> Curves:
    """Read what a training recorded of its epochs, and which of them were averaged."""
    averaged = read_json(training.average).get("epochs", []) if training.average.is_file() else []
    name = f"stage {training.stage}: {training.folder.name}"
    return Curves(name, read_epochs(training.folder), tuple(averaged))


def find_caches(system_dir: Path) -> list[Path]:
    """Find the compressed features, with a report, that a system trains on, or that a CTC encoder has written."""
    tables = read_settings(system_dir).get("train_data_path_and_name_and_type") or []
    read = [find_path(str(entry[0]), system_dir) for entry in tables if entry[1] == "compressed"]
    caches = [*(Path(file).parents[1] for file in read), *sorted(system_dir.glob(f"{COMPRESSED_PREFIX}*"))]
    return [folder for folder in caches if ctc_report_path(folder).is_file()]


def _draw_cache(compressed_dir: Path, set_name: str) -> Figure:
    title = f"{compressed_dir.parent.name}, {compressed_dir.name}, {set_name}"
    return draw_lengths(read_language_lengths(compressed_dir, set_name), title)
