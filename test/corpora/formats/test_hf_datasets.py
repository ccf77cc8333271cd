"""Hugging Face datasets on disk: saved, parquet and folders of recordings, with audio as bytes and as paths."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from speechllama.corpora.formats.hf_datasets import prepare, read_split
from speechllama.corpora.formats.options import DatasetsOptions
from speechllama.corpora.own import Unusable, Utterance
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_json, read_table
from speechllama.recipe.corpora import CORPORA

MakeClip = Callable[..., Path]
HAS_DATASETS = importlib.util.find_spec("datasets") is not None
needs_datasets = pytest.mark.skipif(not HAS_DATASETS, reason="needs datasets: pip install -e '.[datasets]'")
SPLITS = {"train": 4, "validation": 2, "test": 2}


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub, and a cache of the test's own."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    if HAS_DATASETS:
        import datasets

        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture
def clips(make_clip: MakeClip) -> list[Path]:
    """Recordings."""
    return [make_clip(f"clips/c{n}.flac", 1 + n / 10) for n in range(4)]


def make_dataset(clips: list[Path]) -> Any:
    """A dataset of three splits with an audio column of paths, and a translation into two languages."""
    import datasets

    splits = {}
    for name, count in SPLITS.items():
        columns = {
            "clip": [str(clip) for clip in clips[:count]],
            "sentence": [f"fr {n}" for n in range(count)],
            "translation": [{"de": f"de {n}", "es": f"es {n}"} for n in range(count)],
            "speaker": ["ann", "bob"] * (count // 2),
        }
        splits[name] = datasets.Dataset.from_dict(columns).cast_column("clip", datasets.Audio(decode=False))
    return datasets.DatasetDict(splits)


def options_of(corpus: Path | str, folder: Path, **given: Any) -> DatasetsOptions:
    """Options with the columns of this dataset."""
    columns = {"audio_column": "clip", "text_column": "translation.de", "speaker_column": "speaker"}
    where = {"corpus": str(corpus), "datadir": str(folder / "data"), "downloads": str(folder / "downloads")}
    return DatasetsOptions(**{**columns, **where, "langs": "fr", "target_lang": "de", **given})


def check(folder: Path, contents: list[bytes]) -> list[Path]:
    """Check what was written, and give the recordings of train."""
    assert validate_data_dir(folder / "train") == validate_data_dir(folder / "test") == []
    assert [*read_table(folder / "train/text").values()] == ["de 0", "de 2", "de 1", "de 3"]  # by speaker
    assert [*read_table(folder / "train/src_text").values()] == ["fr 0", "fr 2", "fr 1", "fr 3"]
    assert len(read_table(folder / "dev/text")) == 2
    places = [Path(path) for path in read_table(folder / "train/wav.scp").values()]
    assert [path.read_bytes() for path in places] == [contents[n] for n in (0, 2, 1, 3)]
    return places


@needs_datasets
def test_bytes_of_a_saved_dataset_become_files_once_as_they_are(tmp_path: Path, clips: list[Path]) -> None:
    make_dataset(clips).save_to_disk(str(tmp_path / "saved"))
    contents = [clip.read_bytes() for clip in clips]
    for clip in clips:
        clip.unlink()
    options = options_of(tmp_path / "saved", tmp_path)
    prepare(options)
    places = check(tmp_path / "data", contents)
    assert all(path.is_relative_to(tmp_path / "downloads/extracted") and path.suffix == ".flac" for path in places)
    before = [path.stat().st_mtime_ns for path in places]
    places[1].write_bytes(b"damaged")
    prepare(options)
    assert [path.stat().st_mtime_ns == time for path, time in zip(places, before, strict=True)] == [
        True,
        False,
        True,
        True,
    ]
    check(tmp_path / "data", contents)
    assert CORPORA["datasets"].estimate(options).faults == []
    assert len(CORPORA["datasets"].find_sources(options).archives) >= 3


@needs_datasets
def test_parquet_is_read_as_a_stream_and_its_paths_stay_where_they_are(tmp_path: Path, clips: list[Path]) -> None:
    (tmp_path / "parquet").mkdir()
    for name, split in make_dataset(clips).items():
        split.to_parquet(str(tmp_path / f"parquet/{name}-00000-of-00001.parquet"))
    prepare(options_of(tmp_path / "parquet", tmp_path))
    assert check(tmp_path / "data", [clip.read_bytes() for clip in clips]) == [clips[n] for n in (0, 2, 1, 3)]
    assert not (tmp_path / "downloads").exists()
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.suffix == ".arrow"]


@needs_datasets
def test_a_dataset_of_the_hub_is_a_stream_of_its_configuration_and_revision(
    tmp_path: Path, clips: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    asked: list[tuple[tuple[Any, ...], dict[str, Any]]] = []

    def load_dataset(*words: Any, **options: Any) -> Any:
        asked.append((words, options))
        return make_dataset(clips)[options["split"]].to_iterable_dataset()

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    rows = [*read_split(options_of("org/name", tmp_path, config_name="fr_de", revision="abc"), "validation")]
    assert [row.translation for row in rows if isinstance(row, Utterance)] == ["de 0", "de 1"]
    assert len([*read_split(options_of("org/name", tmp_path), "train")]) == 4
    assert asked == [
        (("org/name", "fr_de"), {"split": "validation", "revision": "abc", "streaming": True}),
        (("org/name", None), {"split": "train", "revision": None, "streaming": True}),
    ]


@needs_datasets
def test_parquet_with_plain_bytes_and_without_an_audio_column(tmp_path: Path, clips: list[Path]) -> None:
    import pyarrow
    import pyarrow.parquet

    (tmp_path / "plain").mkdir()
    contents = [clip.read_bytes() for clip in clips]
    for name in ("train", "validation", "test"):
        columns = {"clip": contents, "fr": [f"fr {n}" for n in range(4)], "de": [f"de {n}" for n in range(4)]}
        pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / f"plain/{name}.parquet")
    given = {"text_column": "de", "src_text_column": "fr", "speaker_column": ""}
    prepare(options_of(tmp_path / "plain", tmp_path, **given))
    places = read_table(tmp_path / "data/train/wav.scp")
    assert [Path(path).read_bytes() for path in places.values()] == contents
    assert [*places] == [f"{n:08d}_{n:06d}" for n in range(1, 5)]


@needs_datasets
def test_a_folder_of_recordings_with_a_table_is_a_dataset(tmp_path: Path, make_clip: MakeClip) -> None:
    for name in SPLITS:
        for number in range(2):
            make_clip(f"folder/{name}/{number}.wav")
        rows = ["file_name,sentence,translation", *(f"{n}.wav,fr {n},de {n}" for n in range(2))]
        (tmp_path / f"folder/{name}/metadata.csv").write_text("\n".join(rows) + "\n")
    given = {"audio_column": "audio", "text_column": "translation", "speaker_column": ""}
    prepare(options_of(tmp_path / "folder", tmp_path, **given))
    assert [*read_table(tmp_path / "data/train/wav.scp").values()] == [
        str(tmp_path / f"folder/train/{number}.wav") for number in range(2)
    ]


@needs_datasets
def test_a_language_column_chooses_rows_before_anything_is_written(tmp_path: Path, clips: list[Path]) -> None:
    data = make_dataset(clips)
    for name, split in data.items():
        data[name] = split.add_column("lang", ["fr", "Spanish", "it", "fr"][: len(split)])
    data.save_to_disk(str(tmp_path / "saved"))
    options = options_of(tmp_path / "saved", tmp_path, langs="fr es", lang_column="lang")
    rows = [*read_split(options, "train")]
    assert [row.language for row in rows] == ["fr", "es", "it", "fr"]
    assert [type(row) for row in rows] == [Utterance, Utterance, Unusable, Utterance]
    assert len([path for path in (tmp_path / "downloads").rglob("*") if path.is_file()]) == 3


@needs_datasets
def test_what_is_missing_is_told(tmp_path: Path, clips: list[Path]) -> None:
    make_dataset(clips).save_to_disk(str(tmp_path / "saved"))
    with pytest.raises(ValueError, match="saved: no split 'dev'; found train, validation, test"):
        [*read_split(options_of(tmp_path / "saved", tmp_path), "dev")]
    with pytest.raises(ValueError, match="saved:train: no such column: --audio_column audio; found clip, sentence"):
        [*read_split(options_of(tmp_path / "saved", tmp_path, audio_column="audio"), "train")]
    with pytest.raises(ValueError, match="train: is one dataset without splits"):
        [*read_split(options_of(tmp_path / "saved/train", tmp_path), "test")]
    with pytest.raises(FileNotFoundError, match="--corpus /none: no such folder; expected one, or an id of the hub"):
        [*read_split(options_of("/none", tmp_path), "train")]
    with pytest.raises(ValueError, match="nobody/none, split train: the package datasets cannot read it"):
        [*read_split(options_of("nobody/none", tmp_path), "train")]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty, split train: the package datasets cannot read it"):
        [*read_split(options_of(tmp_path / "empty", tmp_path), "train")]


@needs_datasets
def test_rows_without_audio_are_counted_and_urls_are_fetched(tmp_path: Path, clips: list[Path]) -> None:
    import datasets

    places = [None, f"file://{clips[1]}", "gone.wav", "file:///gone.wav"]
    columns = {"clip": places, "sentence": ["a"] * 4, "translation": ["b"] * 4}
    for name in SPLITS:
        datasets.Dataset.from_dict(columns).save_to_disk(str(tmp_path / "apart" / name))
    options = options_of(tmp_path / "apart", tmp_path, text_column="translation", speaker_column="", max_bad_share=0.8)
    prepare(options)
    dropped = read_json(tmp_path / "data/report.json")["languages"]["fr"]["splits"]["train"]["dropped"]
    counts = {reason: drop["count"] for reason, drop in dropped.items()}
    assert counts == {"row without audio": 2, "no such recording": 1}
    first, second = dropped["row without audio"]["examples"]
    assert first == f"{tmp_path}/apart:train:1: clip is None" and ":train:4: file:///gone.wav: " in second
    (place,) = read_table(tmp_path / "data/train/wav.scp").values()
    assert Path(place).read_bytes() == clips[1].read_bytes()


def test_without_the_package_it_is_said_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)  # the import fails, as without it
    options = options_of(tmp_path, tmp_path)
    with pytest.raises(ValueError, match=r"needs the package datasets: pip install -e '\.\[datasets\]'"):
        prepare(options)
    assert ["needs the package datasets" in fault for fault in CORPORA["datasets"].estimate(options).faults] == [
        True
    ] * 3
