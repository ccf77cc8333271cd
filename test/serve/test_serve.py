"""The entry point: its options, what it says of missing packages, and many clients at a trained model."""

from __future__ import annotations

import importlib.util
import signal
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import httpx
import numpy as np
import pytest
import soundfile

from speechllama.bin import serve
from speechllama.decode.segmenter import CutConfig
from speechllama.decode.speech2text import Speech2Text
from speechllama.faults import InputError
from speechllama.serve.recording import load_model
from test.serve.conftest import wait_until
from tools import benchmark_serve


@pytest.mark.parametrize(
    ("model", "name"), [("exp/st_e6/packed.zip", "st_e6"), ("exp/st_e6", "st_e6"), ("models/mine.zip", "mine")]
)
def test_a_model_is_named_by_its_experiment(model: str, name: str) -> None:
    assert serve.default_name(model) == name


def test_a_key_may_be_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("secret\n")
    assert serve.read_key(f"@{tmp_path}/key") == serve.read_key("secret") == "secret"
    (tmp_path / "key").write_text("\n")
    with pytest.raises(InputError, match="key: the file is empty; expected a key"):
        serve.read_key(f"@{tmp_path}/key")


def test_missing_packages_are_said_with_what_installs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvicorn" else found(name))
    with pytest.raises(InputError, match=r"serving needs the packages uvicorn: pip install -e '\.\[serve\]'"):
        serve.main(["--model", "exp/st_e6"])


def test_without_silero_it_ends_at_once_and_says_what_to_install(recipe: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("speechllama.decode.voice.has_silero", lambda: False)
    words = ["--model", str(recipe.root / "e6"), "--port", "0"]
    with monkeypatch.context() as patch:
        patch.setattr(Speech2Text, "from_pretrained", lambda *_, **__: pytest.fail("nothing loads before that"))
        with pytest.raises(InputError, match=r"needs silero-vad: pip install -e '\.\[vad\]'; .*--segmentation even"):
            serve.main(words)  # vad is the default
    model = load_model(str(recipe.root / "e6"), "cpu", {}, CutConfig(segmentation="even"))
    assert model.endpoints == ("translations",), "even windows need no silero-vad"


def test_a_limit_of_0_is_refused_before_anything_loads() -> None:
    with pytest.raises(InputError, match="--max_queue 0: expected a number above 0"):
        serve.main(["--model", "exp/st_e6", "--max_queue", "0"])


@pytest.mark.parametrize(
    ("memory", "descriptors", "files", "grown"),
    [
        ((900, 930, 910, 940), (7, 7, 7, 7), (0, 0, 0, 0), []),
        ((900, 930, 960, 1010), (7, 7, 7, 7), (0, 0, 0, 0), ["memory: 960 -> 1010 kB"]),
        ((800, 900, 960, 970), (7, 7, 7, 7), (0, 0, 0, 0), []),  # until the largest batch has come
        ((900, 960), (7, 7), (0, 0), []),  # two rounds do not tell
        ((900, 800, 700, 600), (7, 9, 12, 7), (0, 3, 0, 0), []),  # what was given back
        ((900, 900), (7, 8), (0, 1), ["descriptors: 7 -> 8", "temporary files: 0 -> 1"]),
    ],
)
def test_what_grows_from_round_to_round_is_a_fault(
    memory: tuple[int, ...], descriptors: tuple[int, ...], files: tuple[int, ...], grown: list[str]
) -> None:
    rounds = zip(memory, descriptors, files, strict=True)
    held = [Counter({"memory": kb, "descriptors": fds, "temporary files": left}) for kb, fds, left in rounds]
    assert benchmark_serve.find_growth(held) == grown


def test_memory_that_was_swapped_out_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = object.__new__(benchmark_serve.Served)
    served.temporary = tmp_path
    served.process = cast("Any", SimpleNamespace(pid="self"))
    read = Path.read_text
    status = "VmRSS:\t 100 kB\nVmSwap:\t 23 kB\nThreads:\t 4\n"
    monkeypatch.setattr(Path, "read_text", lambda path: status if path.name == "status" else read(path))
    assert served.measure()["memory"] == 123


@pytest.fixture
def wav_scp(tmp_path: Path) -> str:
    """A table of six recordings of noise."""
    random = np.random.default_rng(1)
    lines = []
    for index in range(6):
        path = tmp_path / f"{index}.wav"
        soundfile.write(path, random.normal(0, 0.02 + 0.05 * index, 16000 + 8000 * index), 16000)
        lines.append(f"clip{index} {path}\n")
    (tmp_path / "wav.scp").write_text("".join(lines))
    return str(tmp_path / "wav.scp")


@pytest.mark.filterwarnings("ignore:deprecated:DeprecationWarning")
def test_32_clients_with_good_and_bad_files_all_get_the_right_answer(
    recipe: Any, wav_scp: str, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--model", str(recipe.root / "e6"), "--wav_scp", wav_scp, "--num_recordings", "6"]
    status = benchmark_serve.main([*words, "--requests", "48", "--rounds", "1", "--sides", "clients, batches"])
    page = capsys.readouterr().out
    answers, held = [line.strip("| ").split(" | ") for line in page.splitlines() if line.startswith("| clients")]
    assert status == 0, page
    assert (answers[1], answers[2], answers[5]) == ("32", "96", "0") and int(answers[4]) > 3
    assert held[4:] == ["0 -> 0", "0"]  # temporary files, exit status after SIGTERM


def test_a_server_that_is_told_to_end_answers_what_it_has_accepted(recipe: Any, tmp_path: Path) -> None:
    path = tmp_path / "long.wav"  # of four segments, which take longer than a signal
    soundfile.write(path, np.random.default_rng(1).normal(0, 0.1, 16000 * 25), 16000)
    served = benchmark_serve.Served(str(recipe.root / "e6"), 1, tmp_path / "served")
    try:

        def ask(_: int) -> int:
            files, fields = {"file": ("long.wav", path.read_bytes())}, {"model": benchmark_serve.NAME}
            return httpx.post(f"{served.url}/v1/audio/translations", files=files, data=fields, timeout=300).status_code

        with ThreadPoolExecutor(3) as pool:
            asked = [pool.submit(ask, number) for number in range(3)]
            wait_until(lambda: httpx.get(f"{served.url}/health").json()["queue_length"] == 3)
            status = served.end()
        assert [future.result() for future in asked] == [200] * 3 and status == 0
        log = served.log.read_text()
        assert f"signal {signal.SIGTERM}: finishing 3 requests" in log and "Traceback" not in log
    finally:
        served.process.kill()
        served.process.wait()
