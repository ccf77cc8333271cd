"""How much speech there is, unpacked or in archives, and what it takes on disk."""

from __future__ import annotations

import shutil
import tarfile
from collections import namedtuple
from pathlib import Path

import pytest

from speechllama.corpora.covost2.files import CorpusPlaces, look_up_languages
from speechllama.recipe.preflight.amounts import Amount, check_disk, read_amounts


def test_speech_is_counted_from_data_directories_or_from_tables(tmp_path: Path) -> None:
    rows = {"train": 2, "dev": 1, "test": 1}
    amounts = read_amounts(str(tmp_path), rows)
    assert amounts == {"train": Amount(2, 10.0), "dev": Amount(1, 5.0), "test": Amount(1, 5.0)}
    for split in ("train", "dev", "test"):
        (tmp_path / split).mkdir()
        (tmp_path / split / "utt2dur").write_text("a 1.5\nb 2.5\n")
    assert read_amounts(str(tmp_path), {})["train"] == Amount(2, 4.0)
    assert read_amounts(str(tmp_path), rows) == amounts  # of another corpus than the directories'


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_corpus_in_archives_is_counted_and_its_clips_need_disk(tmp_path: Path, is_packed: bool) -> None:
    table = tmp_path / "covost_v2.de_en.tsv"
    table.write_text('path\ttranslation\tsplit\na\tx "\ttrain\nb\ty\ttrain_covost\nc\tz\tdev\nd\tz\ttest\n')
    if is_packed:
        with tarfile.open(f"{table}.tar.gz", "w:gz") as tar:
            tar.add(table, table.name)
        table.unlink()
    (tmp_path / "de.tar.gz").write_bytes(bytes(1_000_000))
    faults: list[str] = []
    (language,) = look_up_languages(CorpusPlaces(tmp_path, str(tmp_path), tmp_path / "downloads"), ["de"], faults)
    assert faults == [] and language.rows == {"train": 2, "dev": 1, "test": 1}
    assert language.bytes_to_unpack == 4 * 50_000  # 50 kB a clip; not the whole archive
    assert not (tmp_path / "downloads").exists()


def test_folders_of_one_disk_are_added_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(1, 1, 10e9))
    faults: list[str] = []
    needs = [("features", str(tmp_path / "not yet" / "dump"), 5e9), ("models", str(tmp_path), 5e9)]
    (line,) = check_disk(needs, faults)
    assert "about 11.0 GB needed (features 5.0, models 5.0; a tenth more), 10.0 GB free" in line
    assert len(faults) == 1  # each by itself would fit
