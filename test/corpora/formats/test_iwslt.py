"""Corpora in the form of MuST-C and IWSLT: what is read, what becomes a segment, and what is said of faults."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from speechllama.bin import prepare_data
from speechllama.corpora.formats import segment_lists
from speechllama.corpora.formats.iwslt import find_files, prepare, read_split
from speechllama.corpora.formats.options import IwsltOptions
from speechllama.corpora.formats.segment_lists import read_lines, read_segments
from speechllama.corpora.own import Utterance
from speechllama.data.audio import read_audio
from speechllama.data.data_dir import read_data_dir
from speechllama.data.recordings import Recordings
from speechllama.data.validation import validate_data_dir
from speechllama.files import read_json, read_table
from speechllama.options import parse
from speechllama.recipe.corpora import CORPORA

MakeClip = Callable[..., Path]
TALK = (("spk.1", 0.5, 2.0), ("spk.1", 2.5, 1.25), ("spk.2", 7.0, 3.0))  # speaker, offset, duration; the talk has 10 s


def entry(wav: str, speaker: str, offset: float, duration: float) -> str:
    """A line of a YAML list as MuST-C has it."""
    return f"- {{duration: {duration}, offset: {offset}, rW: 3, speaker_id: {speaker}, uW: 0, wav: {wav}}}"


def write(path: Path, lines: Sequence[str]) -> None:
    """Write lines, and the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def write_split(folder: Path, split: str, make_clip: MakeClip, pair: tuple[str, str] = ("es", "de")) -> None:
    """Write a split with two talks of 10 s."""
    lines = []
    for talk in ("talk_1", "talk_2"):
        make_clip(str((folder / split / "wav" / f"{split}_{talk}.wav").absolute()), 10)
        lines += [entry(f"{split}_{talk}.wav", *values) for values in TALK]
    write(folder / split / "txt" / f"{split}.yaml", lines)
    for language in pair:
        write(folder / split / "txt" / f"{split}.{language}", [f"{language} {split} {n}" for n in range(len(lines))])


@pytest.fixture
def corpus(tmp_path: Path, make_clip: MakeClip) -> Path:
    """A corpus in the form of MuST-C, Spanish to German."""
    for split in ("train", "dev", "tst-COMMON", "tst-HE"):
        write_split(tmp_path / "MUST C/es-de/data", split, make_clip)
    return tmp_path / "MUST C"


def options_of(corpus: Path, **given: Any) -> IwsltOptions:
    """Options of a corpus next to which data directories are written."""
    where = {"corpus": str(corpus), "datadir": str(corpus.parent / "data"), "langs": "es", "target_lang": "de"}
    return IwsltOptions(**{**where, **given})


def test_talks_become_segments_and_no_audio_is_copied(corpus: Path) -> None:
    prepare(options_of(corpus, test="tst-COMMON,tst-HE"))
    data = corpus.parent / "data"
    assert sorted(path.name for path in data.iterdir() if path.is_dir()) == ["dev", "test", "train", "tst-HE"]
    folder = data / "test"
    talks = [f"{corpus}/es-de/data/tst-COMMON/wav/tst-COMMON_talk_{n}.wav" for n in (1, 2)]
    assert [*read_table(folder / "wav.scp").values()] == talks
    first, second = read_table(folder / "wav.scp")
    assert read_table(folder / "segments") == {
        "spk.1-tst-COMMON_talk_1_00001": f"{first} 0.5 2.500",
        "spk.1-tst-COMMON_talk_1_00002": f"{first} 2.5 3.750",
        "spk.1-tst-COMMON_talk_2_00001": f"{second} 0.5 2.500",
        "spk.1-tst-COMMON_talk_2_00002": f"{second} 2.5 3.750",
        "spk.2-tst-COMMON_talk_1_00003": f"{first} 7 10.000",
        "spk.2-tst-COMMON_talk_2_00003": f"{second} 7 10.000",
    }
    assert read_table(folder / "text")["spk.2-tst-COMMON_talk_1_00003"] == "de tst-COMMON 2"
    assert read_table(folder / "src_text")["spk.1-tst-COMMON_talk_2_00001"] == "es tst-COMMON 3"
    assert {*read_table(folder / "utt2lang").values()} == {"es"}
    assert read_json(data / "report.json")["languages"]["es"]["splits"]["tst-HE"]["kept"] == 6
    for name in ("train", "dev", "test", "tst-HE"):
        assert validate_data_dir(data / name) == []
    waveform = Recordings.of(read_data_dir(folder)).read("spk.1-tst-COMMON_talk_1_00002").waveform
    np.testing.assert_allclose(waveform, read_audio(talks[0])[40000:60000], atol=1e-6)


@pytest.mark.parametrize("inside", ["", "es-de", "es-de/data"])
def test_the_corpus_is_found_from_any_of_its_folders(corpus: Path, inside: str) -> None:
    files = find_files(options_of(corpus / inside), "dev")
    assert [path.name for path in files] == ["dev.yaml", "dev.es", "dev.de"]
    size = CORPORA["iwslt"].estimate(options_of(corpus / inside))
    assert size.faults == [] and size.num_rows == {"train": 6, "dev": 6, "test": 6}
    assert len(CORPORA["iwslt"].find_sources(options_of(corpus / inside)).tables) == 9


def test_several_pairs_are_read_together(tmp_path: Path, make_clip: MakeClip) -> None:
    for pair in (("es", "de"), ("fr", "de")):
        for split in ("train", "dev", "test"):
            write_split(tmp_path / f"m/{'-'.join(pair)}/data", split, make_clip, pair)
    prepare(options_of(tmp_path / "m", langs="es fr", test="test"))
    languages = read_table(tmp_path / "data/train/utt2lang")
    assert sorted(languages.values()) == ["es"] * 6 + ["fr"] * 6
    assert validate_data_dir(tmp_path / "data/train") == []


def write_clips(folder: Path, make_clip: MakeClip, **texts: str) -> list[str]:
    """Write three clips and, by their paths in the folder, texts of three lines."""
    for number in range(3):
        make_clip(str((folder / f"wav/clip {number}.wav").absolute()))
    for suffix, text in texts.items():
        write(folder / f"txt/{folder.name}.{suffix}", [f"{text} {n}" for n in range(3)])
    return [f"clip {n}.wav" for n in range(3)]


def rows_of(corpus: Path, split: str, **given: Any) -> list[Utterance]:
    """The utterances of a split."""
    rows = [*read_split(options_of(corpus, **given), split)]
    assert all(isinstance(row, Utterance) for row in rows), rows
    return [row for row in rows if isinstance(row, Utterance)]


@pytest.mark.parametrize(
    ("name", "line", "speaker", "times"),
    [
        ("stamped.tsv", "{}\t00\t00.9", "", (0, 0.9)),  # of the Irish and Marathi tracks
        ("txt/segments", "wav/{}\tann\t0.0\t0.75", "ann", (0, 0.75)),  # of the Tamasheq track
        ("txt/train.tsv", "{}\tann", "ann", (0, None)),
        ("train.lst", "{}", "", (0, None)),
        ("train.lst", "{} 0.1 0.6", "", (0.1, 0.6)),
        ("txt/train.yml", "- {{wav: '{}', speaker_id: 007, duration: 0.5}}", "007", (0, 0.5)),  # of the Quechua track
    ],
)
def test_a_clip_an_utterance_with_a_list(
    tmp_path: Path, make_clip: MakeClip, name: str, line: str, speaker: str, times: tuple[float, float | None]
) -> None:
    clips = write_clips(tmp_path / "qu/train", make_clip, que="Ari", spa="Sí")
    write(tmp_path / "qu/train" / name, [line.format(clip) for clip in clips])
    rows = rows_of(tmp_path / "qu", "train", langs="qu", target_lang="es", source_suffix="que", target_suffix="spa")
    assert [row.name for row in rows] == ["clip 0", "clip 1", "clip 2"]
    assert [(row.speaker, row.start, row.end) for row in rows] == [(speaker or row.name, *times) for row in rows]
    assert [Path(row.recording).is_file() for row in rows] == [True] * 3
    assert [(row.transcript, row.translation) for row in rows][2] == ("Ari 2", "Sí 2")
    assert rows[1].where.endswith(f"{Path(name).name}:2")


def test_names_without_suffixes_texts_of_another_name_and_sets_without(tmp_path: Path, make_clip: MakeClip) -> None:
    folder = tmp_path / "ga/test-2023"
    clips = write_clips(folder, make_clip)
    soundfile.write(folder / "wav/clip 0.flac", np.ones(8000) / 2, 16000)
    (folder / "wav/clip 0.wav").unlink()
    write(folder / "stamped.tsv", [f"{clip.removesuffix('.wav')}\t0\t0.5" for clip in clips])
    rows = rows_of(tmp_path / "ga", "test-2023", langs="ga", target_lang="en", test="test-2023")
    assert [row.translation for row in rows] == [""] * 3 and rows[0].recording.endswith("clip 0.flac")
    write(folder / "txt/test.en", ["a", "b\u2028c", "d"])
    rows = rows_of(tmp_path / "ga", "test-2023", langs="ga", target_lang="en", test="test-2023")
    assert [row.translation for row in rows] == ["a", "b\u2028c", "d"]


@pytest.mark.parametrize(
    ("given", "texts"),
    [({"source_suffix": "none"}, ("de", "de")), ({"target_suffix": "none"}, ("es", "es"))],
)
def test_a_text_that_the_corpus_lacks_is_taken_from_the_other(
    corpus: Path, given: dict[str, str], texts: tuple[str, str]
) -> None:
    row = rows_of(corpus, "train", **given)[0]
    assert (row.transcript, row.translation) == tuple(f"{text} train 0" for text in texts)


def test_a_test_split_may_lack_transcripts(corpus: Path) -> None:
    (corpus / "es-de/data/tst-COMMON/txt/tst-COMMON.es").unlink()
    prepare(options_of(corpus))
    folder = corpus.parent / "data/test"
    assert {*read_table(folder / "src_text").values()} == {""} and len(read_table(folder / "text")) == 6
    assert validate_data_dir(folder) == []


def test_faults_of_all_splits_are_told_at_once_with_file_and_line(corpus: Path) -> None:
    folder = corpus / "es-de/data"
    with (folder / "train/txt/train.de").open("a") as stream:
        stream.write("one more\n")
    (folder / "dev/txt/dev.es").write_bytes(b"gut\nschlecht: \xff\n")
    (folder / "tst-COMMON/txt/tst-COMMON.yaml").write_text("- {wav: a.wav}\n- {wav: b.wav\n- {wav: c.wav}\n")
    with pytest.raises(ValueError) as caught:
        prepare(options_of(corpus, test="tst-COMMON none"))
    message = str(caught.value)
    assert "4 faults of the corpus" in message
    assert (
        f"{folder}/train/txt/train.de:7: is the last line, but {folder}/train/txt/train.yaml has 6 segments" in message
    )
    assert f"{folder}/dev/txt/dev.es:2: not UTF-8" in message
    assert f"{folder}/tst-COMMON/txt/tst-COMMON.yaml:3: bad YAML" in message
    assert "none: no list of segments; expected one of none.yaml, " in message
    assert not (corpus.parent / "data").exists()


def test_a_missing_text_says_what_is_there(corpus: Path) -> None:
    (corpus / "es-de/data/train/txt/train.es").rename(corpus / "es-de/data/train/txt/train.spa")
    with pytest.raises(
        FileNotFoundError, match=r"no train\.es; found train\.de, train\.spa, train\.yaml.*--source_suffix"
    ):
        [*read_split(options_of(corpus), "train")]
    (fault,) = CORPORA["iwslt"].estimate(options_of(corpus)).faults
    assert "--source_suffix none" in fault
    assert len(CORPORA["iwslt"].find_sources(options_of(corpus)).tables) == 6


def test_faults_of_segments_are_counted_and_named_with_file_and_line(corpus: Path) -> None:
    folder = corpus / "es-de/data/train"
    lines = (folder / "txt/train.yaml").read_text().splitlines()
    lines[1] = entry("train_talk_1.wav", "spk.1", 9.0, 5.0)
    lines[2] = entry("gone.wav", "spk.1", 0.0, 5.0)
    lines[3] = "- {duration: long, offset: 0.0, speaker_id: spk.1, wav: train_talk_2.wav}"
    lines[4] = "- just text"
    write(folder / "txt/train.yaml", lines)
    options = options_of(corpus, max_bad_share=0.9)
    prepare(options)
    dropped = read_json(corpus.parent / "data/report.json")["languages"]["es"]["splits"]["train"]["dropped"]
    assert {reason: drop["count"] for reason, drop in dropped.items()} == {
        "segment beyond the recording": 1,
        "no such recording": 1,
        "segment that is none": 2,
    }
    assert dropped["segment beyond the recording"]["examples"] == [
        f"{folder}/txt/train.yaml:2: 9 to 14 s of {folder}/wav/train_talk_1.wav, which has 10.000 s"
    ]
    assert dropped["no such recording"]["examples"][0].startswith(f"{folder}/txt/train.yaml:3: {folder}/wav/gone.wav")
    assert "train.yaml:4: offset '0.0', duration 'long'" in dropped["segment that is none"]["examples"][0]
    assert "train.yaml:5: no wav" in dropped["segment that is none"]["examples"][1]
    with pytest.raises(ValueError, match=r"train: 4 of 6 utterances are faulty, at most 5% may be:\n"):
        prepare(options_of(corpus))


@pytest.mark.parametrize("count", [1, 5, 6, 17])
def test_a_long_list_is_read_in_parts_as_the_whole_would_be(
    tmp_path: Path, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segment_lists, "CHUNK_LINES", 5)
    lines = ["# a list", *(entry(f"talk_{n}.wav", f"spk.{n}", n, 1.5) for n in range(count))]
    write(tmp_path / "train.yaml", lines)
    segments = [*read_segments(tmp_path / "train.yaml")]
    whole = yaml.load((tmp_path / "train.yaml").read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    assert [(each.wav, each.speaker, each.start) for each in segments] == [
        (each["wav"], each["speaker_id"], each["offset"]) for each in whole
    ]
    assert segments[-1].where == f"{tmp_path}/train.yaml:{count + 1}"


def test_a_list_in_another_style_of_yaml_is_read_too(tmp_path: Path) -> None:
    entries = [{"wav": "1e5.wav", "offset": 1, "duration": 2}, {"wav": "x: y.wav"}]
    for style in (True, False, None):
        (tmp_path / "a.yaml").write_text(yaml.dump(entries, default_flow_style=style))
        assert [(each.wav, each.start, each.end) for each in read_segments(tmp_path / "a.yaml")] == [
            ("1e5.wav", 1, 3),
            ("x: y.wav", 0, None),
        ]
    (tmp_path / "a.yaml").write_text("segments: []\n")
    with pytest.raises(ValueError, match=r"a\.yaml:1: expected a list of segments, as - "):
        [*read_segments(tmp_path / "a.yaml")]


def test_only_line_feeds_end_lines(tmp_path: Path) -> None:
    (tmp_path / "t").write_bytes("\ufeffa\x0cb\n\nc\u2028d\x85\r\n".encode())
    assert read_lines(tmp_path / "t") == ["a\x0cb", "", "c\u2028d\x85\r"]


def test_sets_have_splits_and_further_test_sets_have_names_of_their_own(corpus: Path) -> None:
    options = options_of(corpus, train="train,dev", dev="dev", test="tst-COMMON tst-HE")
    assert options.sets == {"train": ("train", "dev"), "dev": ("dev",), "test": ("tst-COMMON",), "tst-HE": ("tst-HE",)}
    prepare(options)
    assert len(read_table(corpus.parent / "data/train/text")) == 12
    with pytest.raises(ValueError, match="'dev' would be data/dev, which is another set"):
        _ = options_of(corpus, test="tst-COMMON,dev").sets


def test_the_entry_point_takes_the_options(corpus: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--corpus", str(corpus), "--langs", "es", "--target_lang", "de", "--datadir", str(corpus.parent / "d")]
    assert parse(IwsltOptions, words).test == "tst-COMMON"
    assert prepare_data.main(["iwslt", *words, "--max_duration", "2"]) == 0
    assert len(read_table(corpus.parent / "d/train/text")) == 4
    assert prepare_data.main(["iwslt", "--help"]) == 0
    assert "--source_suffix" in capsys.readouterr().out


def test_real_clips_are_read_in_this_form(shared_data: Path, tmp_path: Path) -> None:
    clips = sorted((shared_data / "common_voice_sample/cv-corpus-6.1-sample/fr/clips").glob("*.mp3"))[:6]
    folder = tmp_path / "real"
    for split, part in (("train", clips[:3]), ("dev", clips[3:4]), ("tst-COMMON", clips[4:])):
        (folder / split / "wav").mkdir(parents=True)
        for clip in part:
            (folder / split / "wav" / clip.name).symlink_to(clip)
        write(folder / split / f"txt/{split}.yaml", [f"- {{wav: {clip.stem}.wav, speaker_id: a}}" for clip in part])
        for language in ("fr", "de"):
            write(folder / split / f"txt/{split}.{language}", ["Un texte court." for _ in part])
    prepare(options_of(folder, langs="fr"))
    assert [Path(path).name for path in read_table(tmp_path / "data/train/wav.scp").values()] == [
        clip.name for clip in clips[:3]
    ]
    assert not (tmp_path / "data/train/segments").exists()
    assert validate_data_dir(tmp_path / "data/train") == []
