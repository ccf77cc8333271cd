"""A stranger's corpus: the page's own local/prepare.py, and what its helpers keep, drop and write."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllama.corpora.own import Limits, OwnOptions, Utterance, write_sets
from speechllama.data.audio import read_audio
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_json, read_table
from speechllama.text.filter import TextFilter
from test.conftest import ROOT
from test.data.containers.makers import MP3, encode, make_tone, with_flac_total, with_sizes, write

PAGE = (ROOT / "docs/your_own_corpus.md").read_text(encoding="utf-8")
Make = Callable[..., str]


@pytest.fixture
def make_clip(tmp_path: Path) -> Make:
    """Write a recording of noise."""

    def make(name: str, seconds: float = 1.0) -> str:
        path = tmp_path / "my radio" / name
        path.parent.mkdir(exist_ok=True)
        soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, int(16000 * seconds)), 16000)
        return str(path)

    return make


def code_of_page(language: str, containing: str) -> str:
    """A block of code of the page."""
    blocks = re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)
    return next(block for block in blocks if containing in block)


def write_corpus(make_clip: Make, folder: Path) -> None:
    """Write tables in the form that the page's program reads."""
    for name, count in (("train", 6), ("dev", 2), ("test", 2)):
        rows = ["audio\tspeaker\ttranscript\ttranslation"]
        for index in range(count):
            make_clip(f"{name}{index}.wav", 1 + index / 10)
            rows.append(f"{name}{index}.wav\tspk {index % 2}\tGuten  Tag {index}.\tGood day {index}.")
        (folder / f"{name}.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def test_the_two_files_of_the_page_prepare_a_corpus(tmp_path: Path, make_clip: Make) -> None:
    recipe = tmp_path / "checkout/egs/radio"
    (recipe / "local").mkdir(parents=True)
    for name in ("speechllama", "utils", "tools", "egs/TEMPLATE"):  # all else is as it is
        (tmp_path / "checkout" / name).symlink_to(ROOT / name)
    (recipe / "run.sh").write_text(code_of_page("sh", "speech_llama --langs"))
    (recipe / "run.sh").chmod(0o755)
    (recipe / "local/prepare.py").write_text(code_of_page("python", "def read_set"))
    make_clip("x.wav")
    write_corpus(make_clip, tmp_path / "my radio")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    words = ["--corpus", "my radio", "--llm", "some/llm", "--stage", "1", "--stop_stage", "1"]
    command = ["checkout/egs/radio/run.sh", *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert "| de | train | 6 | 6 | 0.00 | 2 | - |" in result.stdout and "# Radio: what was kept" in result.stdout
    assert "ok" in (recipe / "data/log/validate.log").read_text()
    assert list(read_table(recipe / "data/test/src_text").values()) == ["Guten Tag 0.", "Guten Tag 1."]
    help_text = subprocess.run(
        [sys.executable, "local/prepare.py", "--help"],
        cwd=recipe,
        capture_output=True,
        text=True,
        check=True,
        env=environment | {"PYTHONPATH": str(ROOT)},
    ).stdout
    assert "--corpus" in help_text and "folder or URL of the corpus" in help_text


def read_corpus(folder: Path) -> dict[str, list[list[str]]]:
    """The rows of the tables, with the header first."""
    tables = {name: folder / f"{name}.tsv" for name in ("train", "dev", "test")}
    return {
        name: [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()]
        for name, table in tables.items()
    }


def save_dataset(folder: Path) -> Path:
    """Save the tables as a Hugging Face dataset, whose audio is paths."""
    datasets = pytest.importorskip("datasets", reason="needs datasets: pip install -e '.[datasets]'")
    splits = {}
    for name, (head, *rows) in read_corpus(folder).items():
        columns = {column: [row[place] for row in rows] for place, column in enumerate(head)}
        columns["audio"] = [str(folder / path) for path in columns["audio"]]
        splits[name] = datasets.Dataset.from_dict(columns).cast_column("audio", datasets.Audio(decode=False))
    datasets.DatasetDict(splits).save_to_disk(str(folder / "saved"))
    return folder / "saved"


def save_cuts(folder: Path) -> Path:
    """Save the tables as manifests of Lhotse's cuts."""
    lhotse = pytest.importorskip("lhotse", reason="needs lhotse: pip install -e '.[lhotse]'")
    for name, (_, *rows) in read_corpus(folder).items():
        cuts = []
        for path, speaker, transcript, translation in rows:
            cut = lhotse.Recording.from_file(folder / path).to_cut()
            span = {"id": cut.id, "recording_id": cut.recording_id, "start": 0.0, "duration": cut.duration}
            said = {"text": transcript, "speaker": speaker, "language": "French"}
            cut.supervisions = [lhotse.SupervisionSegment(**span, **said, custom={"translation": translation})]
            cuts.append(cut)
        lhotse.CutSet.from_cuts(cuts).to_file(folder / f"cuts_{name}.jsonl.gz")
    return folder


FORMS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "tsv": (lambda folder: folder, "--src_text_column transcript --speaker_column speaker"),
    "datasets": (save_dataset, "--src_text_column transcript --speaker_column speaker --dev dev"),
    "lhotse": (save_cuts, ""),
}


@pytest.mark.parametrize("form", FORMS)
def test_the_one_file_of_the_page_prepares_a_corpus_in_a_known_form(tmp_path: Path, make_clip: Make, form: str) -> None:
    recipe = tmp_path / "checkout/egs/mine"
    recipe.mkdir(parents=True)
    for name in ("speechllama", "utils", "tools", "egs/TEMPLATE"):
        (tmp_path / "checkout" / name).symlink_to(ROOT / name)
    (recipe / "run.sh").write_text(code_of_page("sh", "--corpus_kind datasets"))
    (recipe / "run.sh").chmod(0o755)
    make_clip("x.wav")
    write_corpus(make_clip, tmp_path / "my radio")
    save, options = FORMS[form]
    corpus = save(tmp_path / "my radio").relative_to(tmp_path)
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "HF_HUB_OFFLINE": "1"}
    words = ["--corpus", str(corpus), "--llm", "some/llm", "--stage", "1", "--stop_stage", "1", "--corpus_kind", form]
    words += ["--data_options", options]
    command = ["checkout/egs/mine/run.sh", *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=environment)
    assert result.returncode == 0, f"{result.stdout}\n{result.stderr}"
    assert "| fr | train | 6 | 6 | 0.00 | 2 | - |" in result.stdout
    assert sorted(read_table(recipe / "data_de/test/text").values()) == ["Good day 0.", "Good day 1."]


def test_training_is_filtered_and_other_sets_stay_whole(tmp_path: Path, make_clip: Make) -> None:
    clip, short, damaged = make_clip("a.wav"), make_clip("b.wav", 0.1), make_clip("c.wav")
    Path(damaged).write_bytes(b"no audio")
    rows = [
        Utterance("1", "ann", clip, "qu", "Allinllachu", "Hola."),
        Utterance("2", "ann", short, "qu", "Ari", "S\u0131\u0301."),
        Utterance("3", "ann", clip, "qu", "\u200b", "Nada."),
        Utterance("4", "ann", clip, "qu", "Mana", ""),
        Utterance("5", "ann", damaged, "qu", "Mana", "No."),
        Utterance("6", "ann", "/none.wav", "es", "No", "No."),
        Utterance("1", "ann", clip, "qu", "Again", "Otra."),
        Utterance("7", "ann", clip, "qu", "x " * 50, "Largo."),
        Utterance("8", "ann", clip, "qu", "Тест", "Тест", start=0.25, end=2.0),
    ]
    options = OwnOptions(langs="qu es", datadir=str(tmp_path / "data"), corpus="/corpus")
    reports = write_sets({"train": rows, "test": rows[:2]}, options, "Quechua", Limits(max_bad_share=0.5))
    assert [report.name for report in reports] == ["es", "qu"]
    assert reports[1].splits["train"].dropped.counts == {
        "shorter than 0.3 s": 1,
        "empty transcript": 1,
        "empty translation": 1,
        "unreadable recording": 1,
        "duplicate name": 1,
        "sentence above 40 characters a second": 1,
        "segment beyond the recording": 1,
    }
    assert reports[0].splits["train"].dropped.counts == {"no such recording": 1}
    assert read_json(tmp_path / "data/report.json")["languages"]["qu"]["splits"]["test"]["kept"] == 2
    assert list(read_table(tmp_path / "data/train/text").values()) == ["Hola."]
    assert len(read_table(tmp_path / "data/test/text")) == 2
    assert validate_data_dir(tmp_path / "data/train") == validate_data_dir(tmp_path / "data/test") == []
    with pytest.raises(ValueError, match=r"train: 3 of 9 utterances are faulty, at most 5% may be:\n"):
        write_sets({"train": rows}, options, "Quechua")


def test_parts_of_long_recordings_are_segments_and_no_audio_is_copied(tmp_path: Path, make_clip: Make) -> None:
    long = make_clip("talk 1.wav", 10)
    parts = [(0.0, 2.5), (2.5, 7.0), (7.0, None)]
    rows = [
        Utterance(f"part{index}", "talk 1", long, "en", f"Part {index}.", f"Teil {index}.", start, end)
        for index, (start, end) in enumerate(parts)
    ]
    options = OwnOptions(langs="en", datadir=str(tmp_path / "data"))
    write_sets({"train": rows, "dev": rows[:1]}, options, "Talks")
    folder = tmp_path / "data/train"
    assert list(read_table(folder / "wav.scp").values()) == [long]
    (recording,) = read_table(folder / "wav.scp")
    assert read_table(folder / "segments") == {
        "talk_1-part0": f"{recording} 0 2.500",
        "talk_1-part1": f"{recording} 2.5 7.000",
        "talk_1-part2": f"{recording} 7 -1.000",
    }
    assert list(read_table(folder / "utt2dur").values()) == ["2.500", "4.500", "3.000"]
    assert validate_data_dir(folder) == []


def test_the_duration_of_an_odd_file_is_that_of_its_samples(tmp_path: Path) -> None:
    files = {
        "pipe.wav": [with_sizes(encode(make_tone(1.5)), 0x7FFFF024, 0x7FFFF000)],
        "killed.wav": [with_sizes(encode(make_tone(1.25)), 0, 0)],
        "unknown.flac": [with_flac_total(encode(make_tone(1.75), format="FLAC"), 0)],
        "joined.mp3": [encode(make_tone(seconds), **MP3) for seconds in (1.0, 2.0)],
    }
    clips = {name: write(tmp_path / name, *pieces) for name, pieces in files.items()}
    rows = [Utterance(str(number), "ann", str(clip), "qu", "Ari", "Yes.") for number, clip in enumerate(clips.values())]
    write_sets({"train": rows}, OwnOptions(langs="qu", datadir=str(tmp_path / "data")), "Quechua")
    durations = [float(value) for value in read_table(tmp_path / "data/train/utt2dur").values()]
    assert durations == pytest.approx([len(read_audio(clip)) / 16000 for clip in clips.values()], abs=0.001)
    assert durations == pytest.approx([1.5, 1.25, 1.75, 3.0], abs=0.2)  # mp3 keeps its encoder's padding
    assert validate_data_dir(tmp_path / "data/train") == []


def test_an_utterance_may_say_what_language_its_translation_is_in(tmp_path: Path, make_clip: Make) -> None:
    clip = make_clip("a.wav")
    rows = [
        Utterance("1", "ann", clip, "qu", "Ari", "Yes."),
        Utterance("2", "ann", clip, "qu", "Ari", "Да.", target="ru"),
        Utterance("3", "ann", clip, "qu", "Ari", "Yes.", target="ru"),
    ]
    options = OwnOptions(langs="qu", datadir=str(tmp_path))
    limits = Limits(text=TextFilter(check_characters=True))
    (report,) = write_sets({"train": rows, "test": rows[:1]}, options, "Quechua", limits)
    assert list(read_table(tmp_path / "train/utt2target").values()) == ["en", "ru"]
    assert report.splits["train"].dropped.counts == {"translation in another script": 1}
    assert not (tmp_path / "test/utt2target").exists()
    assert validate_data_dir(tmp_path / "train") == validate_data_dir(tmp_path / "test") == []


def test_a_test_set_may_have_no_references_and_training_needs_them(tmp_path: Path, make_clip: Make) -> None:
    rows = [Utterance(str(index), "ann", make_clip(f"{index}.wav"), "de", "Ja.") for index in range(2)]
    options = OwnOptions(langs="de", datadir=str(tmp_path / "data"))
    write_sets({"blind": rows}, options, "Blind")
    assert set(read_table(tmp_path / "data/blind/text").values()) == {""}
    assert validate_data_dir(tmp_path / "data/blind") == []
    with pytest.raises(ValueError, match="^train: no utterance is left; see why in .*report.md$"):
        write_sets({"train": rows}, options, "Blind")
    assert not (tmp_path / "data/train").exists()


def test_scripts_are_judged_only_where_that_is_asked_for(tmp_path: Path, make_clip: Make) -> None:
    rows = [Utterance(str(n), "a", make_clip(f"{n}.wav"), "de", text, text) for n, text in enumerate(["Ja.", "Да."])]
    options = OwnOptions(langs="de", datadir=str(tmp_path / "data"))
    for text, kept in ((TextFilter(check_characters=False), 2), (TextFilter(), 1)):
        [report] = write_sets({"train": rows}, options, "x", Limits(text=text))
        assert report.splits["train"].kept == kept


def test_scripts_are_those_of_the_target_language_of_the_run(tmp_path: Path, make_clip: Make) -> None:
    texts = ["Yes.", "Да."]
    rows = [Utterance(str(n), "a", make_clip(f"{n}.wav"), "de", "Ja.", text) for n, text in enumerate(texts)]
    options = OwnOptions(langs="de", datadir=str(tmp_path / "data"), target_lang="ru")
    write_sets({"train": rows}, options, "x", Limits(text=TextFilter(check_characters=True)))
    assert list(read_table(tmp_path / "data/train/text").values()) == ["Да."]


def test_the_counts_of_the_page_are_a_report(tmp_path: Path) -> None:
    from speechllama.data.corpus_report import count_rows

    (tmp_path / "report.json").write_text(code_of_page("json", "train"))
    assert json.loads(code_of_page("json", "train"))["test"] == count_rows(tmp_path / "report.json", "test") == 2000
