"""Where the corpora lie: trees, archives placed by hand, tables from a server; all faults in one list."""

from __future__ import annotations

import io
import shutil
import tarfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllama.corpora.covost2.files import CorpusPlaces, corpus_name, find_languages
from speechllama.corpora.covost2.prepare import CorpusOptions, prepare_covost2
from speechllama.data import archives
from test.corpora.conftest import MakeCorpus

ROWS = [
    ("c1", "ann", "Oui.", "Yes.", "train"),
    ("c2", "bob", "Non.", "No.", "dev"),
    ("c3", "eve", "Ah.", "Ah.", "test"),
]


def pack(path: Path, **members: Path) -> Path:
    """Make a .tar.gz of files and folders; in a member's name, "__" stands for "/"."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w:gz") as tar:
        for name, source in members.items():
            tar.add(source, name.replace("__", "/"))
    return path


@pytest.fixture()
def archived(make_corpus: MakeCorpus, tmp_path: Path) -> CorpusPlaces:
    """French in an archive as release 6.1 has it, Chinese in one as release 4 has it; no tree is left."""
    sources = make_corpus(ROWS)
    chinese = zip(ROWS, ("是。", "不。", "啊。"), strict=True)
    make_corpus([(f"z{clip}", client, sentence, *rest) for (clip, client, _, *rest), sentence in chinese], "zh-CN")
    tree = sources.common_voice / "cv-corpus-x"
    noise = np.random.default_rng(1).normal(0, 0.1, 1_600_000)  # so long that a cut archive still holds whole clips
    soundfile.write(tree / "fr/clips/c3.mp3", noise, 16000, format="MP3")
    shutil.copy(tree / "fr/clips/c1.mp3", tree / "fr/clips/unwanted.mp3")  # not in CoVoST 2
    with tarfile.open(sources.common_voice / "cv-corpus-6.1-2020-12-11-fr.tar.gz", "w:gz") as tar:
        tar.add(tree / "fr", "cv-corpus-6.1-2020-12-11/fr")
    with tarfile.open(sources.common_voice / "zh-CN.tar.gz", "w:gz") as tar:
        tar.add(tree / "zh-CN/clips", "clips")
        tar.add(tree / "zh-CN/validated.tsv", "validated.tsv")
    shutil.rmtree(tree)
    return sources


@pytest.mark.parametrize(
    ("given", "name"), [("zh", "zh-CN"), ("zh_cn", "zh-CN"), ("ZH-cn", "zh-CN"), ("sv", "sv-SE"), ("fr", "fr")]
)
def test_a_language_has_one_name(given: str, name: str) -> None:
    assert corpus_name(given) == name


def test_archives_are_unpacked_as_far_as_needed(archived: CorpusPlaces, tmp_path: Path) -> None:
    reports = prepare_covost2(archived, ["zh", "fr"], tmp_path / "data")
    assert [[split.kept for split in report.splits.values()] for report in reports] == [[1, 1, 1]] * 2
    folder = archived.work_dir / "unpacked/cv-corpus-6.1-2020-12-11-fr/fr"
    assert sorted(path.name for path in (folder / "clips").iterdir()) == ["c1.mp3", "c2.mp3", "c3.mp3"]
    clip = folder / "clips/c1.mp3"
    first = clip.stat().st_mtime_ns
    prepare_covost2(archived, ["zh", "fr"], tmp_path / "data")  # finished: not even opened
    assert clip.stat().st_mtime_ns == first
    table = tmp_path / "pseudo.tsv"  # what is wanted later is added, what is there stays
    table.write_text("lang\tpath\tsentence\ttranslation\nfr\tunwanted.mp3\tBon.\tGood.\n")
    options = CorpusOptions(pseudo_labels=table, max_bad_share=0.9)
    prepare_covost2(archived, ["fr"], tmp_path / "data", options)
    assert (folder / "clips/unwanted.mp3").is_file() and clip.stat().st_mtime_ns == first


def test_of_english_only_the_clips_of_its_table_are_unpacked(
    archived: CorpusPlaces, make_corpus: MakeCorpus, tmp_path: Path
) -> None:
    make_corpus([("e1", "amy", "Good day.", "", ""), ("e2", "zoe", "Good night.", "", "")], "en")
    tree = archived.common_voice / "cv-corpus-x/en"
    rows = (tree / "validated.tsv").read_text().splitlines(keepends=True)
    (tree / "train.tsv").write_text("".join(rows[:2]))
    pack(archived.common_voice / "cv-corpus-x-en.tar.gz", cv__en=tree)
    shutil.rmtree(tree)
    folder = archived.work_dir / "unpacked/cv-corpus-x-en/en"
    for english, clips in (("train", ["e1.mp3"]), ("validated", ["e1.mp3", "e2.mp3"])):
        first = prepare_covost2(archived, ["fr"], tmp_path / "data", CorpusOptions(english=english))  # type: ignore[arg-type]
        assert first[0].splits["train"].kept == len(clips)
        assert sorted(path.name for path in (folder / "clips").iterdir()) == clips


def test_a_cut_archive_is_told_and_the_whole_one_is_resumed(archived: CorpusPlaces, tmp_path: Path) -> None:
    archive = archived.common_voice / "cv-corpus-6.1-2020-12-11-fr.tar.gz"
    whole = archive.read_bytes()
    archive.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="fr.tar.gz: truncated or damaged .*start the same command again"):
        prepare_covost2(archived, ["fr"], tmp_path / "data")
    folder = archived.work_dir / "unpacked/cv-corpus-6.1-2020-12-11-fr/fr"
    kept = {path: path.stat().st_mtime_ns for path in folder.rglob("*.mp3")}
    assert kept and not list(folder.rglob("*.tmp"))
    archive.write_bytes(whole)
    [report] = prepare_covost2(archived, ["fr"], tmp_path / "data")
    assert report.splits["train"].kept == 1
    assert {path: path.stat().st_mtime_ns for path in kept} == kept


def test_no_member_leaves_the_folder(archived: CorpusPlaces, tmp_path: Path) -> None:
    archive = archived.common_voice / "zh-CN.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        for name in (
            "../../validated.tsv",
            "/clips/zc1.mp3",
            "clips/../../../zc2.mp3",
            "validated.tsv/../../train.tsv",
        ):
            member = tarfile.TarInfo(name)
            member.size = 1
            tar.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(ValueError, match="no column client_id"):
        find_languages(archived, ["zh"])
    outside = [path for path in tmp_path.rglob("zc*.mp3") if "unpacked" not in str(path)]
    assert outside == [] and not (archived.work_dir / "validated.tsv").exists()


def test_a_disk_without_room_is_refused_before_unpacking(
    archived: CorpusPlaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)._replace(free=10)
    monkeypatch.setattr(archives.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ValueError, match="unpacking needs about 0.0 GB below .*, 0.0 GB are free; make room"):
        find_languages(archived, ["fr"])


def test_all_that_is_missing_is_told_at_once(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    sources = make_corpus(ROWS)
    other = sources.common_voice / "cv-corpus-y/fr"
    other.mkdir(parents=True)
    (other / "validated.tsv").write_text("client_id\tpath\tsentence\n")
    with pytest.raises(ValueError) as caught:
        find_languages(sources, ["fr", "xx"])
    message = str(caught.value)
    assert message.startswith("3 faults of the corpus:")
    assert "language 'fr' is there 2 times" in message
    assert f"language 'xx': looked for {tmp_path}/covost2/[xx/]covost_v2.xx_en.tsv" in message
    assert "xx/validated.tsv and an archive of it (.tar.gz); languages there: fr" in message
    with pytest.raises(ValueError, match="nowhere: no such folder; --common_voice"):
        find_languages(CorpusPlaces(tmp_path / "nowhere", sources.covost2, tmp_path), ["fr"])
    with pytest.raises(ValueError, match="^2 faults of the corpus:"):  # told once each, not once a language
        find_languages(CorpusPlaces(tmp_path / "nowhere", str(tmp_path / "no"), tmp_path), ["fr", "de", "it"])


def test_a_half_unpacked_tree_names_the_archive_next_to_it(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    sources = make_corpus(ROWS)
    tree = sources.common_voice / "cv-corpus-x/fr"
    pack(sources.common_voice / "cv-corpus-x-fr.tar.gz", x__fr=tree)
    for name in ("c1", "c2"):
        (tree / f"clips/{name}.mp3").unlink()
    with pytest.raises(
        ValueError, match="2 of 3 clips .*half unpacked.* remove the folder, and .*cv-corpus-x-fr.tar.gz"
    ):
        prepare_covost2(sources, ["fr"], tmp_path / "data")


@pytest.fixture()
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder and the URL under which it is served."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *arguments: object) -> None:
            pass

    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield folder, f"http://127.0.0.1:{http.server_port}/covost"
    http.shutdown()
    http.server_close()
    thread.join()


def test_tables_come_from_a_server_packed_or_plain(
    make_corpus: MakeCorpus, tmp_path: Path, server: tuple[Path, str]
) -> None:
    folder, url = server
    local = make_corpus(ROWS)
    make_corpus([(f"s{clip}", *rest) for clip, *rest in ROWS], "sv-SE")
    tables = Path(local.covost2)
    (folder / "covost").mkdir()
    with tarfile.open(folder / "covost/covost_v2.fr_en.tsv.tar.gz", "w:gz") as tar:
        tar.add(tables / "covost_v2.fr_en.tsv", "covost_v2.fr_en.tsv")
    shutil.copy(tables / "covost_v2.sv-SE_en.tsv", folder / "covost")
    remote = CorpusPlaces(local.common_voice, f"{url}/", tmp_path / "work")
    reports = prepare_covost2(remote, ["fr", "sv"], tmp_path / "data")
    assert [report.name for report in reports] == ["fr", "sv-SE"]
    shutil.rmtree(folder / "covost")  # what was fetched is not fetched again
    prepare_covost2(remote, ["fr", "sv"], tmp_path / "data")
    with pytest.raises(ValueError, match="covost_v2.de_en.tsv: the server has no such file"):
        find_languages(remote, ["de"])


def test_a_page_in_place_of_a_table_is_refused(
    make_corpus: MakeCorpus, tmp_path: Path, server: tuple[Path, str]
) -> None:
    folder, url = server
    local = make_corpus(ROWS)
    (folder / "covost").mkdir()
    (folder / "covost/covost_v2.fr_en.tsv.tar.gz").write_text("<html>Please log in</html>")
    with pytest.raises(
        ValueError, match="what arrived is not what was expected, and was deleted: .*truncated or damaged"
    ):
        find_languages(CorpusPlaces(local.common_voice, url, tmp_path / "work"), ["fr"])
    assert not list((tmp_path / "work").rglob("*.part")) and not list((tmp_path / "work").rglob("*.tsv"))


def test_packed_tables_of_a_folder_are_unpacked_next_to_the_work(make_corpus: MakeCorpus, tmp_path: Path) -> None:
    sources = make_corpus(ROWS)
    table = Path(sources.covost2) / "covost_v2.fr_en.tsv"
    with tarfile.open(f"{table}.tar.gz", "w:gz") as tar:
        tar.add(table, table.name)
    content = table.read_bytes()
    table.unlink()
    [language] = find_languages(sources, ["fr"])
    assert language.table is not None and language.table.read_bytes() == content
    assert language.table.is_relative_to(tmp_path / "work")
