"""The examples of docs/serving.md work as they are written, but for the address."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from speechllama.bin.serve import get_parser
from speechllama.serve.answer import FORMATS
from speechllama.serve.form import FIELDS
from test.serve.conftest import Running, running_tones, tone

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs/serving.md").read_text(encoding="utf-8")
ADDRESS = "http://127.0.0.1:8000"


def blocks(language: str) -> list[str]:
    """Blocks of code in a language."""
    return re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Running]:
    """A server that is called as in the examples, and files of their names here."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("test.serve.conftest.NAME", "mini")
    (tmp_path / "clip.mp3").write_bytes(tone(440, container="MP3"))
    (tmp_path / "lecture.mp3").write_bytes(tone(880, 5.0, container="MP3"))
    with running_tones() as running:
        yield running


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is needed")
def test_the_commands_of_curl_work(server: Running) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("curl ")]
    commands = [shlex.split(line.replace(ADDRESS, server.url)) for line in lines]
    clip, lecture, health = (
        subprocess.run([*command, "--silent", "--noproxy", "*"], capture_output=True, text=True, check=True).stdout
        for command in commands
    )
    assert clip == '{"text":"440 Hz"}'
    assert re.fullmatch(r"1\n00:00:00,000 --> .*\n880 Hz\n\n2\n.*\n880 Hz\n\n3\n.*\n880 Hz\n\n", lecture)
    assert '"status":"ok","model":"mini"' in health


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_the_lines_for_openais_client_work(server: Running, capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = blocks("python")
    exec(code.replace(ADDRESS, server.url), {})
    assert capsys.readouterr().out == "440 Hz\n"


def test_the_page_has_the_options_with_their_defaults_the_fields_and_the_formats() -> None:
    parser = get_parser()
    for name, default in re.findall(r"`--(\w+)` \((\d+)\)", PAGE):
        assert parser.get_default(name) == float(default)
    assert {"max_megabytes", "max_recording_seconds", "max_queue", "batch_size"} <= set(
        re.findall(r"`--(\w+)` \(", PAGE)
    )
    for name in (*FIELDS, *FORMATS):
        assert f"`{name}`" in PAGE
    command = next(line for block in blocks("sh") for line in block.splitlines() if "bin.serve" in line)
    assert parser.parse_args(shlex.split(command)[3:]).name == "mini"
