"""Many recordings: batches across them, documents of each, and what one at fault costs."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

from speechllama import progress
from speechllama.bin import translate
from speechllama.corpora.synthetic.espeak import synthesize
from speechllama.data.audio import resample
from speechllama.decode import segmenter, translate_files
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.speech2text import Speech2Text
from speechllama.decode.translate_files import FilesJob, translate_microphone
from speechllama.decode.voice import energy
from test.decode.fake_system import FakeToText

RATE = 16000


def write_noise(path: Path, *turns: float) -> str:
    """Noise and silence in turn, so many seconds each."""
    random = np.random.default_rng(len(path.name))
    parts = [random.normal(size=round(s * RATE)) * (0.1 if n % 2 == 0 else 0.0) for n, s in enumerate(turns)]
    soundfile.write(path, np.concatenate(parts), RATE)
    return str(path)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recordings: short.wav, long.wav with two stretches of noise, silence.wav; speech is what is loud."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(segmenter, "silero_detector", lambda: lambda frame: float(energy(frame) > 0.02))
    monkeypatch.setattr(segmenter, "has_silero", lambda: True)
    write_noise(Path("short.wav"), 1.0)
    write_noise(Path("long.wav"), 12.0, 2.0, 9.0)
    write_noise(Path("silence.wav"), 0.0, 2.0)
    Path("bad.mp3").write_bytes(b"nothing")
    return tmp_path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Run translate with a fake system -> status, what is on stdout and stderr."""

    def run_with(system: FakeToText, *words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(Speech2Text, "from_pretrained", staticmethod(lambda *_, **__: system))
        status = translate.main(["--model", "x", *words])
        captured = capsys.readouterr()
        return status, captured.out, captured.err

    return run_with


def test_a_short_recording_is_a_line_and_a_long_one_a_line_for_each_segment(folder: Path, run: Any) -> None:
    status, out, _ = run(FakeToText(), "short.wav", "long.wav")
    assert status == 0
    lines = [line.split("\t") for line in out.splitlines()]
    assert [line[0] for line in lines] == ["short.wav", "long.wav", "long.wav"]
    assert lines[0][1] == "98 frames" and "98 frames" not in (lines[1][1], lines[2][1])


def test_pieces_of_several_recordings_share_a_batch(folder: Path, run: Any) -> None:
    system = FakeToText()
    run(system, "short.wav", "long.wav", "short.wav", "--batch_size", "3")
    assert [len(batch) for batch in system.batches] == [3, 1]
    run(system, "short.wav", "long.wav", "--max_seconds", "4", "--segmentation", "even", "--batch_size", "2")
    assert max(length for batch in system.batches[2:] for length in batch) <= 4.0


@pytest.mark.parametrize("kind", ["tsv", "jsonl"])
def test_a_bad_recording_is_one_line_and_the_others_are_done(folder: Path, run: Any, kind: str) -> None:
    words = ("bad.mp3", "short.wav", "none.wav", "silence.wav", "long.wav", "--format", kind)
    status, out, err = run(FakeToText(), *words)
    assert status == 1
    errors = [line for line in err.splitlines() if line.startswith("ERROR: ")]
    assert len(errors) == 2 and "bad.mp3" in errors[0] and "none.wav" in errors[1]
    if kind == "tsv":
        names = [line.split("\t")[0] for line in out.splitlines()]
        assert names == ["file", "short.wav", "silence.wav", "long.wav", "long.wav"]
    else:
        records = [json.loads(line) for line in out.splitlines()]
        assert [record["file"] for record in records] == ["short.wav", "silence.wav", "long.wav", "long.wav"]
        assert records[1]["text"] == "" and records[3]["end"] == pytest.approx(23.0, abs=0.1)


@pytest.mark.parametrize("error", [RuntimeError("a kernel refused"), torch.OutOfMemoryError("no memory")])
def test_what_breaks_one_recording_ends_only_that(folder: Path, run: Any, error: Exception) -> None:
    write_noise(Path("other.wav"), 3.0)
    status, out, err = run(FakeToText(too_long=2.0, error=error), "other.wav", "short.wav", "other.wav", "short.wav")
    assert status == 1
    assert [line.split("\t")[0] for line in out.splitlines()] == ["short.wav", "short.wav"]
    errors = [line for line in err.splitlines() if line.startswith("ERROR: ")]
    assert len(errors) == 2 and all("other.wav" in line for line in errors)
    assert all("RuntimeError: a kernel" in line or "does not fit" in line or "do not fit" in line for line in errors)


@pytest.mark.parametrize("error", [RuntimeError("a decoder gave up"), MemoryError("no memory")])
def test_what_breaks_while_durations_are_measured_ends_nothing(
    folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def read_duration(path: str) -> float:
        raise error

    monkeypatch.setattr(translate_files, "read_duration", read_duration)
    assert run(FakeToText(), "short.wav")[:2] == (0, "short.wav\t98 frames\n")


def test_a_recording_that_breaks_is_not_read_on(folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    system = FakeToText(too_long=0.1)
    status, out, err = run(system, "long.wav", "--segmentation", "even", "--max_seconds", "2", "--batch_size", "1")
    assert (status, out, len(system.batches)) == (1, "", 1)
    assert sum(line.startswith("ERROR: ") for line in err.splitlines()) == 1


def test_nothing_heard_is_said_and_nothing_is_written(folder: Path, run: Any, caplog: pytest.LogCaptureFixture) -> None:
    status, out, _ = run(FakeToText(), "silence.wav")
    assert (status, out) == (0, "")
    assert "silence.wav: nothing was heard" in caplog.text
    soundfile.write("hiss.wav", np.random.default_rng(1).normal(size=3 * RATE) * 1e-3, RATE)
    assert run(FakeToText(), "hiss.wav")[:2] == (0, "")
    assert "hiss.wav: nothing was heard" in caplog.text
    write_noise(Path("pause.wav"), 0.0, 40.0)
    status, out, _ = run(FakeToText(), "pause.wav", "--format", "tsv")
    assert (status, out) == (0, "file\tstart\tend\ttext\npause.wav\t0.000\t40.000\t\n")
    assert "pause.wav: nothing was heard" in caplog.text


@pytest.mark.parametrize(
    ("kind", "written"),
    [
        ("text", ""),
        ("srt", ""),
        ("vtt", "WEBVTT\n\n"),
        ("tsv", "start\tend\ttext\n0.000\t2.000\t\n"),
    ],
)
def test_the_document_of_a_silent_recording_has_no_text(folder: Path, run: Any, kind: str, written: str) -> None:
    assert run(FakeToText(), "silence.wav", "--format", kind, "--output_dir", "made")[:2] == (0, "")
    (document,) = Path("made").iterdir()
    assert document.name == f"silence.{'txt' if kind == 'text' else kind}" and document.read_text() == written


def test_the_json_of_a_silent_recording_has_an_empty_text(folder: Path, run: Any) -> None:
    for kind in ("json", "jsonl"):
        run(FakeToText(), "silence.wav", "--format", kind, "--output_dir", "made")
    whole, line = (json.loads(Path(f"made/silence.{kind}").read_text()) for kind in ("json", "jsonl"))
    assert (whole["text"], line["text"], line["end"]) == ("", "", 2.0)
    assert [segment["text"] for segment in whole["segments"]] == [""]


def test_a_cut_text_is_said_with_its_time_and_the_limit(
    folder: Path, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    _, out, _ = run(FakeToText(), "long.wav", "--max_tokens", "100", "--format", "jsonl")
    assert [json.loads(line)["is_cut"] for line in out.splitlines()] == [True, False]
    assert "long.wav: 0.0 to 12.2 s: the text was cut at max_tokens 100" in caplog.text


def test_documents_go_into_a_folder_and_those_of_broken_recordings_do_not(folder: Path, run: Any) -> None:
    words = ("short.wav", "bad.mp3", "long.wav", "--format", "srt", "--output_dir", "made/subtitles")
    status, out, _ = run(FakeToText(), *words)
    assert (status, out) == (1, "")
    made = Path("made/subtitles")
    assert sorted(path.name for path in made.iterdir()) == ["long.srt", "short.srt"]
    assert (made / "long.srt").read_text().startswith("1\n00:00:00,000 --> 00:00:12,")
    run(FakeToText(), "short.wav", "--output_dir", "made")
    assert Path("made/short.txt").read_text() == "98 frames\n"


def test_the_options_of_the_search_change_only_what_they_name(folder: Path, run: Any) -> None:
    system = FakeToText(SearchConfig(beam_size=7, tokens_per_second=20.0))
    _, out, _ = run(system, "short.wav", "--nbest", "2", "--language", "de")
    assert out == "short.wav\tde98 frames\t-1.0000\nshort.wav\tsecond\t-2.0000\n"
    assert system.config == SearchConfig(beam_size=7, nbest=2, tokens_per_second=20.0)
    _, out, _ = run(FakeToText(), "short.wav", "--target_lang", "zh-CN")
    assert out == "short.wav\tzh-CN98 frames\n"
    with pytest.raises(ValueError, match=r"--ctc_weight 0\.3 is for encoder-decoders, and this system is none"):
        run(system, "short.wav", "--ctc_weight", "0.3")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "no recording: name some files, or give --microphone"),
        (("a.wav", "--microphone"), "--microphone takes no recordings"),
        (("a.wav", "b.wav", "--format", "vtt"), "--format vtt: a document holds one recording, and there are 2"),
        (("x/a.wav", "y/a.mp3", "--output_dir", "z"), "x/a.wav and y/a.mp3 would both be written to z/a.txt"),
    ],
)
def test_what_cannot_be_meant_is_wrong_usage(
    words: tuple[str, ...], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        translate.main(["--model", "none", *words])
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_without_silero_a_long_recording_is_refused_by_name(
    folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    for module in ("voice", "segmenter"):
        monkeypatch.setattr(f"speechllama.decode.{module}.has_silero", lambda: False)
    status, out, err = run(FakeToText(), "long.wav", "short.wav")
    assert (status, out) == (1, "short.wav\t98 frames\n")
    (error,) = [line for line in err.splitlines() if line.startswith("ERROR: ")]
    assert error.startswith("ERROR: long.wav: ") and "pip install -e '.[vad]'" in error and "even" in error
    assert run(FakeToText(), "long.wav", "--segmentation", "even")[0] == 0


def test_what_is_spoken_comes_segment_by_segment(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    waveform, _ = soundfile.read("long.wav", dtype="float32")
    seen: list[int] = []

    def spoken() -> Any:
        for start in range(0, len(waveform), 1600):
            seen.append(capsys.readouterr().out.count("-->"))
            yield waveform[start : start + 1600]

    monkeypatch.setattr(translate_files, "record", spoken)
    assert translate_microphone(FakeToText(), FilesJob(kind="srt", target="fr")) == 0
    assert sum(seen) == 1 and seen.index(1) == pytest.approx(126, abs=2)  # half a second after the first noise ends
    last = capsys.readouterr().out
    assert last.startswith("2\n00:00:13,") and "\nfr" in last


def test_the_command_takes_the_microphone(folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    waveform, _ = soundfile.read("short.wav", dtype="float32")
    monkeypatch.setattr(translate_files, "load_sounddevice", lambda: None)
    monkeypatch.setattr(translate_files, "record", lambda: np.array_split(waveform, 10))
    assert run(FakeToText(), "--microphone", "--language", "de")[:2] == (0, "de98 frames\n")


def test_a_segment_that_breaks_ends_nothing_of_what_is_spoken(
    folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    waveform, _ = soundfile.read("long.wav", dtype="float32")
    monkeypatch.setattr(translate_files, "load_sounddevice", lambda: None)
    monkeypatch.setattr(translate_files, "record", lambda: np.array_split(waveform, 100))
    for error in (RuntimeError("a kernel refused"), torch.OutOfMemoryError("no memory")):
        status, out, err = run(FakeToText(too_long=11.0, error=error), "--microphone", "--format", "json")
        (said,) = [line for line in err.splitlines() if line.startswith("ERROR: ")]
        assert status == 1 and said.startswith("ERROR: microphone, 0.0 to 12.2 s: ")
        (segment,) = json.loads(out)["segments"]
        assert segment["text"].endswith("frames") and segment["start"] > 12.2


def test_how_far_the_files_are_is_said_with_the_time_left(
    folder: Path, run: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "LOG_INTERVAL_SECONDS", 0.0)
    with caplog.at_level(logging.INFO):
        run(FakeToText(), "short.wav", "long.wav", "--batch_size", "1")
    lines = [record.getMessage() for record in caplog.records if "s of audio" in record.getMessage()]
    assert lines[0].startswith("1 of 24 s of audio, ") and lines[-1].startswith("24 of 24 s of audio, ")
    assert all(line.endswith(" s left") for line in lines)


def test_silero_cuts_a_spoken_recording_at_its_pause(tmp_path: Path, run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("silero_vad", reason="needs silero-vad: pip install -e '.[vad]'")
    monkeypatch.chdir(tmp_path)
    sentence = resample(*synthesize("Der alte Mann trinkt heute Abend ein großes Glas Wasser in der Küche.", "de"))
    part, pause = np.concatenate([sentence] * 3), np.zeros(3 * RATE, np.float32)
    soundfile.write("lecture.wav", np.concatenate([part, pause, part, pause]), RATE)
    status, out, _ = run(FakeToText(), "lecture.wav", "--format", "jsonl", "--max_seconds", "15")
    times = [(line["start"], line["end"]) for line in map(json.loads, out.splitlines())]
    assert status == 0 and len(times) >= 2
    seconds = len(part) / RATE
    assert seconds > 8.0 and not [
        (start, end) for start, end in times if start < seconds + 0.6 and end > seconds + 2.4 or end > 2 * seconds + 4.0
    ]
    spoken = sum(end - start for start, end in times)
    assert 0.8 * 2 * seconds < spoken < 2 * seconds + 2.0
