"""What the page says and keeps, without a browser: silence, faults, languages, deleted files, a missing package."""

from __future__ import annotations

import dataclasses
import importlib.util
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile

from speechllama.bin import demo
from speechllama.decode.long import LongConfig, Segment
from speechllama.decode.speech2text import Speech2Text, Translation
from speechllama.faults import InputError
from speechllama.page.answer import (
    MAX_PICTURES,
    Controls,
    Limits,
    answer,
    prompt_languages,
    prompt_targets,
    read_upload,
    show_segment,
)
from speechllama.page.app import Kept, Page, PageConfig
from speechllama.page.uploads import UPLOADS, forget, private_folder
from speechllama.text.prompt import Prompt, PromptConfig

EVEN = LongConfig(max_seconds=1.0, segmentation="even")


@pytest.fixture
def page(translator: Speech2Text) -> Iterator[Page]:
    with private_folder() as folder:
        yield Page(translator, PageConfig(cutting=EVEN), folder)


def upload(page: Page, source: Path) -> str:
    """Put a file where gradio would."""
    place = page.folder / "hash" / source.name
    place.parent.mkdir()
    place.write_bytes(source.read_bytes())
    return str(place)


def test_silence_is_said_and_has_no_text(page: Page, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "silence.wav", np.zeros(16000), 16000)
    *_, (shown, _) = page.translate(upload(page, tmp_path / "silence.wav"), None, None, 2, None)
    assert "Nothing was heard." in shown and "downloads" not in shown
    assert not [path for path in page.folder.rglob("*") if path.is_file()]


def test_a_fault_of_the_program_ends_neither_the_page_nor_the_promise(
    page: Page, noise: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("CUDA error: <unspecified>")

    path = upload(page, noise("a.wav"))
    with monkeypatch.context() as patch:
        patch.setattr(page.translator, "batch", fail)
        *_, (shown, _) = page.translate(path, None, None, 2, None)
    assert "failed on this recording (RuntimeError: CUDA error: &lt;unspecified&gt;)" in shown
    assert "Traceback" in caplog.text and not Path(path).exists()
    *_, (shown, _) = page.translate(upload(page, noise("a.wav")), None, None, 2, None)
    assert "nbest" in shown


def test_a_recording_that_the_system_refuses_is_named(page: Page, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "click.wav", np.full(300, 0.1), 16000)
    *_, (shown, _) = page.translate(upload(page, tmp_path / "click.wav"), None, None, 1, None)
    assert 'role="alert">click.wav: 0.0' in shown and "too short for a frame: 300 samples" in shown


def test_segments_before_a_fault_stay_on_the_page(
    page: Page, noise: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw_nothing(*_: Any) -> None:
        raise RuntimeError("no colours left")

    monkeypatch.setattr("speechllama.page.answer.show_picture", draw_nothing)
    *_, (shown, _) = page.translate(upload(page, noise("a.wav")), None, None, 1, None)
    assert shown.index('<p class="text">') < shown.index("no colours left")


def test_a_user_who_leaves_leaves_nothing(page: Page, noise: Callable[..., Path]) -> None:
    path = upload(page, noise("long.wav", 4.0))
    running = page.translate(path, None, None, 2, None)
    next(running)
    assert Path(path).exists()
    running.close()  # type: ignore[attr-defined]
    assert not Path(path).exists()


def test_another_try_needs_the_same_recording(page: Page, noise: Callable[..., Path]) -> None:
    path = upload(page, noise("a.wav"))
    *_, (_, kept) = page.translate(path, None, None, 2, None)
    assert kept is not None and len(kept.waveform) == 16000
    *_, (again, _) = page.translate(path, None, None, 1, kept)
    assert again.count("<tr><td>") == 1
    *_, (shown, _) = page.translate(path.replace("a.wav", "b.wav"), None, None, 1, kept)
    assert "b.wav: no longer on the server; choose it again" in shown and str(page.folder) not in shown
    *_, (shown, _) = page.translate(None, None, None, 1, Kept())
    assert "Choose a file or record something first." in shown


def test_pictures_of_a_long_recording_are_limited(translator: Speech2Text) -> None:
    waveform = (np.random.default_rng(0).normal(size=16000 * (MAX_PICTURES + 3)) * 0.1).astype(np.float32)
    *parts, shown = answer(translator, waveform, Controls(beam_size=1), EVEN)
    assert len(parts) > MAX_PICTURES and shown.count("<img ") == MAX_PICTURES
    assert f"Pictures are drawn of the first {MAX_PICTURES} segments" in shown
    assert " of 0:11</p>" in parts[0] and "<img" not in parts[-1]


def test_texts_are_no_html_and_no_template() -> None:
    evil = "<script>alert(1)</script> ${1} {{2}} `"
    shown = show_segment(Segment(0.0, 1.0, [Translation(evil, [], -1.0, True)]), 1.0)
    assert "<script" not in shown and "${" not in shown and "{{" not in shown and "`" not in shown
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &#36;&#123;1}" in shown
    assert "The text was cut at the limit of tokens." in shown


def test_what_is_too_large_is_not_read(noise: Callable[..., Path]) -> None:
    path = noise("a.wav", 2.0)
    with pytest.raises(InputError, match=r"a\.wav: 0\.1 MB, this page takes at most 0\.05 MB"):
        read_upload(path, Limits(0.05, 10.0))
    with pytest.raises(InputError, match=r"a\.wav: 2 s, this page takes at most 1 s; .*bin.translate takes recordings"):
        read_upload(path, Limits(1.0, 1.0))
    with pytest.raises(InputError, match="max_megabytes 0 and max_seconds 600 must be above 0"):
        Limits(0.0)


def test_the_language_is_a_control_where_the_prompt_names_it(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    translator: Any = page.translator

    def has_control(label: str = "Language of the speech") -> bool:
        (control,) = [part for part in page.build().blocks.values() if getattr(part, "label", "") == label]
        return bool(control.visible)

    assert prompt_languages(translator) == {} and not has_control()
    tokenizer = translator.experiment.prompt.tokenizer

    def set_prompt(config: PromptConfig) -> None:
        changed = dataclasses.replace(translator.experiment, prompts={"st": Prompt(config, "st", tokenizer)})
        monkeypatch.setattr(translator, "experiment", changed)

    set_prompt(PromptConfig("From {language}: {audio}", language_names={"qu": "Quechua"}))
    assert prompt_languages(translator)["qu"] == "Quechua" and has_control()
    set_prompt(PromptConfig(by_language={"de": "Deutsch: {audio}", "xx": "X: {audio}"}))
    assert prompt_languages(translator) == {"de": "German", "xx": "xx"}
    assert prompt_targets(translator) == {} and not has_control("Language to write")
    set_prompt(PromptConfig("To {target}: {audio}", targets=["de", "en", "fr"]))
    assert list(prompt_targets(translator).items()) == [("en", "English"), ("de", "German"), ("fr", "French")]
    assert has_control("Language to write") and not has_control()


def test_what_the_controls_say_reaches_the_system(
    page: Page, noise: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio")
    (clicked,) = [call for call in page.build().fns.values() if getattr(call.fn, "__name__", "") == "translate"]
    labels = [getattr(part, "label", None) for part in clicked.inputs]
    assert labels[:4] == ["Speech", "Language of the speech", "Language to write", "Beam size"]
    asked: list[tuple[Any, ...]] = []

    def batch(waveforms: Any, languages: Any, targets: Any) -> list[Any]:
        asked.append((*languages, *targets, page.translator.config.beam_size))
        return [[] for _ in waveforms]

    monkeypatch.setattr(page.translator, "batch", batch)
    *_, (_, kept) = page.translate(upload(page, noise("a.wav")), "de", "fr", 3, None)
    assert kept is not None
    list(page.translate(kept.path, None, None, 2, kept))
    assert asked == [("de", "fr", 3), ("", "", 2)]


def test_only_uploads_are_deleted(tmp_path: Path) -> None:
    mine = tmp_path / "mine" / "a.wav"
    mine.parent.mkdir()
    mine.touch()
    with private_folder() as folder:
        assert os.environ[UPLOADS] == str(folder) and tempfile.gettempdir() == str(folder)
        assert folder.stat().st_mode & 0o077 == 0, "others may not read it"
        inside = folder / "loose.wav"
        inside.touch()
        forget(mine, folder)
        forget(inside, folder)  # gradio has a folder for each upload
        assert mine.exists() and inside.exists()
    assert not folder.exists() and UPLOADS not in os.environ and tempfile.gettempdir() != str(folder)


def test_an_upload_stays_until_its_own_request_is_answered(translator: Speech2Text, noise: Callable[..., Path]) -> None:
    pytest.importorskip("gradio")
    clip = noise("a.wav").read_bytes()
    with private_folder() as folder:
        page = Page(translator, PageConfig(port=0, cutting=EVEN), folder)
        blocks, address = page.launch()
        uploads = []
        for _ in range(2):  # the same recording, from two browsers
            answered = httpx.post(f"{address}gradio_api/upload", files={"files": ("a.wav", clip)})
            uploads += answered.json()
        for number, path in enumerate(uploads):
            assert [Path(each).exists() for each in uploads] == [each >= number for each in range(2)]
            *_, (shown, _) = page.translate(path, None, None, 1, None)
            assert "nbest" in shown and "no longer on the server" not in shown
        assert not [path for path in folder.rglob("*") if path.is_file()]
        blocks.close()


def test_the_page_asks_no_other_machine_and_forgets_what_is_never_translated(
    translator: Speech2Text, noise: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("gradio")
    asked: list[str] = []
    connect, look_up = socket.socket.connect, socket.getaddrinfo

    def record_connect(self: socket.socket, address: Any) -> None:
        asked.append(str(address[0]))
        connect(self, address)

    def record_look_up(host: Any, *more: Any, **options: Any) -> Any:
        asked.append(str(host))
        return look_up(host, *more, **options)

    monkeypatch.setattr(socket.socket, "connect", record_connect)
    monkeypatch.setattr(socket, "getaddrinfo", record_look_up)
    for name in ("SWEEP_SECONDS", "KEPT_SECONDS"):
        monkeypatch.setattr(f"speechllama.page.app.{name}", 1)
    with private_folder() as folder:
        blocks, address = Page(translator, PageConfig(port=0), folder).launch()
        with noise("a.wav").open("rb") as file:
            answered = httpx.post(f"{address}gradio_api/upload", files={"files": ("a.wav", file)})
        (kept,) = map(Path, answered.json())
        assert kept.is_relative_to(folder)
        for _ in range(300):
            if not kept.exists():
                break
            time.sleep(0.1)
        assert not kept.exists(), "nobody translated it"
        blocks.close()
    assert asked and {*asked} <= {"127.0.0.1", "localhost"}


def test_a_missing_gradio_is_said_before_the_model_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *_: None)
    with pytest.raises(InputError, match=r"the page needs gradio; install it: pip install -e '.\[demo\]'"):
        demo.main(["--model", "nothing.zip"])


def test_the_command_serves_until_it_is_told_to_end(recipe: Any, tmp_path: Path) -> None:
    pytest.importorskip("gradio")
    command = [sys.executable, "-m", "speechllama.bin.demo", "--model", str(recipe.root / "e6"), "--port", "0"]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment, cwd=tmp_path)
    try:
        assert process.stderr is not None
        line = next(line for line in process.stderr if "the page is at" in line)
        assert "http://127.0.0.1:" in line, "of this machine only"
        assert len(list(tmp_path.glob("speechllama_page_*"))) == 1
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert list(tmp_path.iterdir()) == [], "nothing is left, there or where it was started"
