"""The page in a real browser: upload, microphone, result, picture, long and bad files; nothing leaves the machine."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from speechllama.decode.long import LongConfig
from speechllama.decode.speech2text import Speech2Text
from speechllama.page.answer import Limits
from speechllama.page.app import Page, PageConfig
from speechllama.page.uploads import private_folder
from speechllama.text.prompt import Prompt, PromptConfig
from test.page.conftest import write_noise

pytest.importorskip("gradio", reason="needs gradio: pip install -e '.[demo]'")

ROOT = Path(__file__).resolve().parents[2]
SCREENSHOT = ROOT / "docs" / "images" / "page.png"
TIMEOUT = 60_000  # milliseconds, on a busy machine
DONE = "#result .downloads, #result .error, #result .nothing"
CONFIG = PageConfig(
    port=0, limits=Limits(1.0, 20.0), beam_size=4, cutting=LongConfig(max_seconds=2.0, segmentation="even")
)


@pytest.fixture(scope="module")
def running(translator: Speech2Text) -> Iterator[tuple[str, Path]]:
    """The page's address, and the folder of its uploads."""
    with private_folder() as folder:
        blocks, address = Page(translator, CONFIG, folder).launch()
        yield address, folder
        blocks.close()


class Visit:
    """A user before the page."""

    def __init__(self, browser: Any, address: str, width: int = 1000) -> None:
        self.tab = browser.new_page(viewport={"width": width, "height": 800})
        self.tab.set_default_timeout(TIMEOUT)
        self.requests: list[str] = []
        self.tab.on("request", lambda request: self.requests.append(request.url))
        self.tab.goto(address)
        self.tab.get_by_role("button", name="Translate").wait_for()

    def upload(self, path: Path) -> None:
        """Choose a file, in place of what was chosen before."""
        clear = self.tab.get_by_role("button", name="Clear")
        if clear.count():
            clear.first.click()
        with self.tab.expect_response(lambda response: "/upload" in response.url and "progress" not in response.url):
            self.tab.locator("input[type=file]").set_input_files(path)

    def translate(self) -> str:
        """Press the button and await the end -> what the page says."""
        # the result before must be gone, so that it is not taken for the new one
        self.tab.evaluate("document.querySelector('#result').querySelectorAll('*').forEach(e => e.className = 'old')")
        self.tab.get_by_role("button", name="Translate").click()
        self.tab.locator(DONE).first.wait_for()
        text: str = self.tab.locator("#result").inner_text()
        return text


@pytest.fixture
def visit(browser: Any, running: tuple[str, Path]) -> Iterator[Visit]:
    made = Visit(browser, running[0])
    yield made
    made.tab.close()


def files_of(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


def test_a_file_gives_text_hypotheses_and_a_picture_and_nothing_stays(
    visit: Visit, running: tuple[str, Path], noise: Callable[..., Path], translator: Speech2Text
) -> None:
    visit.upload(noise("a.wav"))
    visit.translate()
    rows = visit.tab.locator("#result .nbest tbody tr")
    assert rows.count() == 4
    expected = translator(noise("a.wav"))
    assert len(expected) == 4
    cells = rows.first.locator("td").all_inner_texts()
    assert cells[0] == "1" and " ".join(cells[1].split()) == " ".join(expected[0].text.split())
    assert cells[2] == f"{expected[0].score:.3f}"
    picture = visit.tab.locator("#result .picture img")
    assert picture.evaluate("image => image.complete && image.naturalWidth") > 300
    assert "encoder frames" in str(picture.get_attribute("alt"))
    assert files_of(running[1]) == [], "the recording is deleted with the answer"
    # another beam, though the file is gone
    visit.tab.get_by_label("number input for Beam size").fill("2")
    visit.tab.get_by_label("number input for Beam size").press("Tab")
    visit.translate()
    assert rows.count() == 2
    own = (running[0], "data:", "blob:")
    assert [url for url in visit.requests if not url.startswith(own)] == [], "nothing is asked of another server"


def test_a_bad_file_gives_a_message_and_the_page_goes_on(
    visit: Visit, running: tuple[str, Path], noise: Callable[..., Path], tmp_path: Path
) -> None:
    bad = tmp_path / "not sound {{1}} ${2}.wav"
    bad.write_bytes(b"no sound at all" * 100)
    visit.upload(bad)
    message = visit.translate()
    assert visit.tab.locator("#result .error").count() == 1
    assert re.match(r"not sound.*\.wav: no audio, but text", message), message
    assert str(running[1]) not in message, "folders of the server are not shown to clients"
    assert files_of(running[1]) == []
    visit.upload(noise("good.wav"))
    visit.translate()
    assert visit.tab.locator("#result .picture img").count() == 1 and not visit.tab.locator("#result .error").count()


def test_a_long_file_comes_in_segments_with_times_and_subtitles(
    visit: Visit, running: tuple[str, Path], noise: Callable[..., Path]
) -> None:
    visit.upload(noise("long.wav", 6.0))
    visit.translate()
    times = visit.tab.locator("#result .times").all_inner_texts()
    assert len(times) >= 3 and times[0].startswith("0:00 to 0:0") and times[-1].endswith("to 0:06")
    assert visit.tab.locator("#result .picture").count() == len(times)
    link = visit.tab.get_by_role("link", name="vtt")
    assert link.get_attribute("download") == "speech.vtt"
    assert unquote(str(link.get_attribute("href"))).count(" --> ") == len(times)
    assert files_of(running[1]) == []


def test_without_silero_a_long_file_gets_a_message_that_names_what_to_install(
    browser: Any, translator: Speech2Text, noise: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("voice", "segmenter"):
        monkeypatch.setattr(f"speechllama.decode.{module}.has_silero", lambda: False)
    with private_folder() as folder:
        blocks, address = Page(translator, PageConfig(port=0, beam_size=1), folder).launch()
        visit = Visit(browser, address)
        visit.upload(noise("long.wav", 21.0))
        message = visit.translate()
        assert message.startswith("long.wav: finding speech needs silero-vad: pip install -e '.[vad]'")
        assert visit.tab.locator("#result .error").count() == 1 and str(folder) not in message
        assert files_of(folder) == []
        visit.upload(noise("short.wav"))
        visit.translate()
        assert visit.tab.locator("#result .picture").count() == 1, "what needs no cutting is translated"
        visit.tab.close()
        blocks.close()


def test_limits_of_length_and_size_are_said(
    visit: Visit, running: tuple[str, Path], noise: Callable[..., Path]
) -> None:
    visit.upload(noise("an hour.wav", 25.0))
    assert "25 s, this page takes at most 20 s" in visit.translate()
    large = noise("large.wav", 40.0)  # 1.3 MB
    visit.tab.get_by_role("button", name="Clear").first.click()
    visit.tab.locator("input[type=file]").set_input_files(large)
    visit.tab.get_by_text("exceed the maximum allowed size").first.wait_for()
    content = {"name": "large.wav", "mimeType": "audio/wav", "buffer": large.read_bytes()}
    refused = visit.tab.request.post(f"{running[0]}gradio_api/upload", multipart={"files": content})
    assert refused.status == 413, "the server refuses it, too"
    assert files_of(running[1]) == []


def test_the_microphone_is_heard(visit: Visit, running: tuple[str, Path]) -> None:
    visit.tab.get_by_label("Record audio").first.click()
    visit.tab.get_by_role("button", name="Record", exact=True).click()
    visit.tab.wait_for_timeout(1500)
    with visit.tab.expect_response(lambda response: "/upload" in response.url and "progress" not in response.url):
        visit.tab.get_by_role("button", name="Stop", exact=True).first.click()
    visit.translate()
    assert visit.tab.locator("#result .error").count() == 0
    assert files_of(running[1]) == []


def test_the_chosen_language_is_the_one_of_the_prompt(
    browser: Any, translator: Speech2Text, noise: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    system: Any = translator
    config = PromptConfig("From {language}: {audio}", language_names={"qu": "Quechua"})
    prompts = {"st": Prompt(config, "st", system.experiment.prompt.tokenizer)}
    monkeypatch.setattr(system, "experiment", dataclasses.replace(system.experiment, prompts=prompts))
    asked: list[str] = []
    scores: set[str] = set()
    batch = system.batch

    def record(waveforms: Any, languages: Any, *more: Any) -> Any:
        asked.extend(languages)
        return batch(waveforms, languages, *more)

    monkeypatch.setattr(system, "batch", record)
    with private_folder() as folder:
        blocks, address = Page(translator, CONFIG, folder).launch()
        visit = Visit(browser, address)
        for name, code in (("Quechua", "qu"), ("German", "de")):
            recording = noise(f"{code}.wav")  # the same noise
            visit.upload(recording)
            visit.tab.get_by_label("Language of the speech").click()
            visit.tab.get_by_role("option", name=name, exact=True).click()
            visit.translate()
            shown = visit.tab.locator("#result .nbest tbody tr").first.locator("td").all_inner_texts()
            (best, *_) = system(recording, language=code)
            assert " ".join(shown[1].split()) == " ".join(best.text.split()) and shown[2] == f"{best.score:.3f}"
            scores.add(shown[2])
        visit.tab.close()
        blocks.close()
    assert asked[::2] == ["qu", "de"], "what the page asked for; every second one is the test's own"
    assert len(scores) == 2, "the prompt made a difference"


@pytest.mark.skipif("SPEECHLLAMA_SCREENSHOT" not in os.environ, reason="SPEECHLLAMA_SCREENSHOT='MODEL AUDIO' makes it")
def test_the_screenshot_of_the_docs_is_made_anew(browser: Any) -> None:
    model, audio = os.environ["SPEECHLLAMA_SCREENSHOT"].split()
    with private_folder() as folder:
        blocks, address = Page(Speech2Text.from_pretrained(model), PageConfig(port=0), folder).launch()
        visit = Visit(browser, address, width=860)
        visit.upload(Path(audio).resolve())
        visit.translate()
        visit.tab.wait_for_timeout(1000)
        SCREENSHOT.parent.mkdir(exist_ok=True)
        visit.tab.screenshot(path=SCREENSHOT, full_page=True)
        blocks.close()
    assert SCREENSHOT.stat().st_size < 200_000


def test_a_taken_port_is_said(running: tuple[str, Path], translator: Speech2Text) -> None:
    port = int(running[0].rstrip("/").rpartition(":")[2])
    with pytest.raises(ValueError, match=f"127.0.0.1:{port}: cannot listen there .*; give another --host or --port"):
        Page(translator, PageConfig(port=port), running[1]).launch()


def test_no_file_of_the_server_is_served(running: tuple[str, Path], tmp_path: Path, browser: Any) -> None:
    secret = write_noise(tmp_path / "secret.wav")
    tab = browser.new_page()
    assert tab.request.get(f"{running[0]}gradio_api/file={secret}").status == 403
    assert tab.request.get(f"{running[0]}gradio_api/file={ROOT / 'setup.py'}").status == 403
    tab.close()
