"""Sentence pairs: found in every form they come in, cleaned, and refused with a reason."""

from __future__ import annotations

import functools
import gzip
import logging
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from speechllama.corpora.mini.plan import Pair
from speechllama.corpora.tatoeba.pairs import PairFilter, find_pair_files, read_pairs

TEXT = "Where is the dog?\tWo ist der Hund?\tCC-BY 2.0 #1\nI am hungry.\tIch habe Hunger.\n"
PAIRS = [
    Pair("de", "Wo ist der Hund?", "Where is the dog?"),
    Pair("de", "Ich habe Hunger.", "I am hungry."),
]
LIMITS = PairFilter()


def write_plain(path: Path) -> Path:
    path.write_text(TEXT, encoding="utf-8")
    return path


def write_gz(path: Path) -> Path:
    path.write_bytes(gzip.compress(TEXT.encode()))
    return path


def write_zip(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("deu.txt", TEXT)
        archive.writestr("_about.txt", "where it is from")
    return path


FORMS: dict[str, Callable[[Path], Path]] = {
    "deu-eng.tsv": write_plain,
    "deu-eng.txt": write_plain,
    "deu-eng.tsv.gz": write_gz,
    "deu-eng.zip": write_zip,
}


@pytest.fixture()
def url(tmp_path: Path) -> Iterator[str]:
    """A server of the files in the test's folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(tmp_path)))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    http.server_close()
    thread.join()


@pytest.mark.parametrize("name", FORMS)
def test_every_form_gives_the_same_pairs_from_a_folder_a_pattern_and_a_file(name: str, tmp_path: Path) -> None:
    path = FORMS[name](tmp_path / name)
    for place in (tmp_path, tmp_path / name.replace("deu", "{code}"), path):
        files = find_pair_files(str(place), ["de"], tmp_path / "fetched")
        assert files == {"de": path}
        assert read_pairs(path, "de", LIMITS) == PAIRS


def test_a_url_is_fetched_once_for_each_language(url: str, tmp_path: Path) -> None:
    write_zip(tmp_path / "deu.zip")
    (tmp_path / "nld.zip").write_bytes(gzip.compress(b"I am hungry.\tIk heb honger.\n"))  # what it holds counts
    place = url + "/{code}.zip"
    files = find_pair_files(place, ["de", "nl"], tmp_path / "fetched")
    assert read_pairs(files["de"], "de", LIMITS) == PAIRS
    assert read_pairs(files["nl"], "nl", LIMITS) == [Pair("nl", "Ik heb honger.", "I am hungry.")]
    (tmp_path / "deu.zip").unlink()
    assert find_pair_files(place, ["de", "nl"], tmp_path / "fetched") == files
    (tmp_path / "spa.zip").write_bytes(b"<html>please sign in</html>\n")
    with pytest.raises(ValueError, match="expected 'English<TAB>other', found b'<html>"):
        find_pair_files(place, ["es"], tmp_path / "fetched")


def test_all_missing_files_are_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"(?s)2 faults.*de: no sentence pairs; expected .*deu-eng with.*nl: no sent"):
        find_pair_files(str(tmp_path), ["de", "nl"], tmp_path)
    with pytest.raises(ValueError, match=r"expected .*/deu\.tsv\. Put Tatoeba's there, or give --pairs"):
        find_pair_files(str(tmp_path / "{code}.tsv"), ["de"], tmp_path)


@pytest.mark.parametrize(
    ("langs", "message"),
    [
        (["de", "xx"], "langs holds 'xx'; expected some of de es fr nl"),
        ([], "expected different languages"),
        (["de", "de"], "'de de', expected different languages"),
        (["de", "nl"], r"deu-eng.tsv: one file for 2 languages; put \{code\}"),
    ],
)
def test_languages_that_cannot_be_found_are_refused(langs: list[str], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        find_pair_files(str(write_plain(tmp_path / "deu-eng.tsv")), langs, tmp_path)


def test_what_is_left_out_is_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        "Run!\tLauf!",
        f"{'word ' * 21}\tViele Wörter.",
        f"It is long.\t{'lang ' * 40}",
        "It is gone.\t\tx",
        "I am hungry.\tголоден очень",
        "I  am hungry.\tIch habe  Hunger.",
    ]
    path = tmp_path / "deu.tsv"
    path.write_text(TEXT + "\n".join(rows) + "\n", encoding="utf-8")
    with caplog.at_level(logging.INFO):
        assert read_pairs(path, "de", LIMITS) == PAIRS
    assert "kept 2 of 8 pairs" in caplog.text
    for reason in ("fewer than 3 English", "more than 20 English", "longer than 160 characters", "1 duplicate"):
        assert reason in caplog.text
    assert "2 sentence in another script" in caplog.text  # one of them has no letter at all


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no tab here\nnor here\n", r"(?s)2 of 2 lines are no pairs.*:1: expected 'English<TAB>other'"),
        (b"caf\xe9 is open now\tx\n", r"(?s)1 of 1 lines.*not UTF-8"),
        (b"Run!\tLauf!\n", "no usable pair among 1 lines"),
        (gzip.compress(TEXT.encode() * 99)[:60], "truncated or damaged"),
    ],
)
def test_files_that_are_no_pairs_are_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "deu.tsv"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_pairs(path, "de", LIMITS)


def test_an_archive_of_two_tables_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "deu.zip", "w") as archive:
        archive.writestr("a.txt", TEXT)
        archive.writestr("b.txt", TEXT)
    with pytest.raises(ValueError, match="holds 2 tables, expected one"):
        read_pairs(tmp_path / "deu.zip", "de", LIMITS)


def test_the_shared_pairs_are_read_nearly_whole(shared_data: Path) -> None:
    path = find_pair_files(str(shared_data / "tatoeba"), ["nl"], shared_data)["nl"]
    assert 50_000 < len(read_pairs(path, "nl", LIMITS)) < 53_000
