"""A small CoVoST 2 on disk, made by the test."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import soundfile

from speechllama.corpora.covost2.files import CorpusPlaces

Row = tuple[str, str, str, str, str]  # clip, client, sentence, translation, split
MakeCorpus = Callable[..., CorpusPlaces]
GOOD: list[Row] = [
    ("c1", "ann", 'Il a dit "oui.', 'He said "yes.', "train"),
    ("c2", "ann", "nan", "NA", "train"),
    ("c3", "bob", "Straße  à\u00a0İstanbul", "null", "train_covost"),
    ("c4", "bob", 'Un "autre.', 'Another".', "dev"),
    ("c5", "eve", "Non !", "No!", "test"),
]
CLIP_HEADER = "client_id\tpath\tsentence\tup_votes\tdown_votes\tage\tgender\taccents\tlocale\tsegment"


@pytest.fixture()
def make_corpus(tmp_path: Path) -> MakeCorpus:
    """Write a language in CoVoST 2's format, below cv/ and covost2/; each clip is a second of noise."""

    def make(rows: list[Row], language: str = "fr", extra: str = "") -> CorpusPlaces:
        folder = tmp_path / "cv" / "cv-corpus-x" / language
        (folder / "clips").mkdir(parents=True, exist_ok=True)
        (tmp_path / "covost2").mkdir(exist_ok=True)
        validated, table = [CLIP_HEADER], ["path\ttranslation\tsplit"]
        noise = np.random.default_rng(1).normal(0, 0.1, 16000)
        for clip, client, sentence, translation, split in rows:
            validated.append(f"{client}\t{clip}.mp3\t{sentence}\t2\t0\t\t\t\t{language}\t")
            table.append(f"{clip}.mp3\t{translation}\t{split}")
            soundfile.write(folder / "clips" / f"{clip}.mp3", noise, 16000, format="MP3")
        (folder / "validated.tsv").write_text("\n".join(validated) + "\n", encoding="utf-8")
        if language != "en":
            content = "\n".join(table) + "\n" + extra
            (tmp_path / f"covost2/covost_v2.{language}_en.tsv").write_text(content, encoding="utf-8")
        return CorpusPlaces(tmp_path / "cv", str(tmp_path / "covost2"), tmp_path / "work")

    return make
