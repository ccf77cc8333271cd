"""CTC units: there and back, the same on every run."""

from __future__ import annotations

from pathlib import Path

import pytest

from speechllama.bin import train_tokenizer as entry
from speechllama.text.tokenizer import CTCTokenizer, train_tokenizer

TEXTS = [
    "Der Weiße Hund läuft schnell.",
    "Die Straße ist sehr lang!",
    "L'été à İstanbul, ça va ?",
    "¿Dónde está?",
] * 5


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_text_comes_back_with_case_and_punctuation(tmp_path: Path, model_type: str) -> None:
    tokenizer = CTCTokenizer(train_tokenizer(TEXTS, tmp_path, 60, model_type, 1.0))  # type: ignore[arg-type]
    for text in TEXTS[:4]:
        units = tokenizer.encode(text)
        assert 0 not in units and max(units) < tokenizer.num_units
        assert tokenizer.decode(units) == text
        assert tokenizer.decode([unit for original in units for unit in (0, original, 0)]) == text
    assert tokenizer.num_units == (61 if model_type == "bpe" else 44)  # 60 pieces at most, and blank


@pytest.mark.parametrize("model_type", ["unigram", "bpe"])
def test_the_texts_of_units_make_up_the_text(tmp_path: Path, model_type: str) -> None:
    tokenizer = CTCTokenizer(train_tokenizer(TEXTS, tmp_path, 60, model_type, 1.0))  # type: ignore[arg-type]
    texts = tokenizer.texts
    assert len(texts) == tokenizer.num_units and texts[:2] == ["", ""]  # blank and the unknown unit
    for text in TEXTS[:4]:
        assert "".join(texts[unit] for unit in tokenizer.encode(text)) == f" {text}"


def test_the_same_texts_give_the_same_bytes(tmp_path: Path) -> None:
    first = train_tokenizer(TEXTS, tmp_path / "one", 60).read_bytes()
    assert train_tokenizer(TEXTS, tmp_path / "two", 60).read_bytes() == first
    assert [path.name for path in (tmp_path / "one").iterdir()] == ["bpe.model"]


def test_little_text_gives_fewer_pieces(tmp_path: Path) -> None:
    assert CTCTokenizer(train_tokenizer(TEXTS, tmp_path, 5000)).num_units < 500


def test_blank_is_no_piece_and_the_first_piece_is_unknown(tmp_path: Path) -> None:
    tokenizer = CTCTokenizer(train_tokenizer(TEXTS, tmp_path, 60))
    assert 1 in tokenizer.encode("漢") and tokenizer.decode([0]) == ""
    assert tokenizer.encode("") == tokenizer.encode("  ") == [] and tokenizer.decode([]) == ""


@pytest.mark.parametrize("unit", [-1, 61])
def test_a_unit_out_of_range_is_named(tmp_path: Path, unit: int) -> None:
    with pytest.raises(ValueError, match=f"units 0 to 60, found {unit}"):
        CTCTokenizer(train_tokenizer(TEXTS, tmp_path, 60)).decode([1, unit])


def test_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="found no text in 2 lines"):
        train_tokenizer(["", " "], tmp_path, 60)


def test_too_few_pieces_for_the_characters_become_enough(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    tokenizer = CTCTokenizer(train_tokenizer(TEXTS, tmp_path, 5))
    assert "5 CTC units are too few" in caplog.text
    assert all(tokenizer.decode(tokenizer.encode(text)) == text for text in TEXTS)


def test_full_coverage_keeps_the_rarest_character(tmp_path: Path) -> None:
    texts = ["the men drink our water"] * 200 + ["Now"]
    limited, full = (CTCTokenizer(train_tokenizer(texts, tmp_path / str(c), 40, "bpe", c)) for c in (0.9995, 1.0))
    assert limited.decode(limited.encode("Now")) != "Now"
    assert full.decode(full.encode("Now")) == "Now"


def test_pieces_that_sentencepiece_refuses_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="cannot make -3 bpe pieces of 20 sentences"):
        train_tokenizer(TEXTS, tmp_path, -3)


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="none.model: no such SentencePiece model"):
        CTCTokenizer(tmp_path / "none.model")
    for content in (b"", b"not a model"):
        (tmp_path / "bad.model").write_bytes(content)
        with pytest.raises(ValueError, match="bad.model: no SentencePiece model"):
            CTCTokenizer(tmp_path / "bad.model")


def test_the_entry_point_reads_a_table(tmp_path: Path) -> None:
    lines = [f"utt{index} {text}\n" for index, text in enumerate(TEXTS)]
    (tmp_path / "src_text").write_text("".join(lines), encoding="utf-8")
    command = [
        "--text",
        str(tmp_path / "src_text"),
        "--vocab_size",
        "60",
        "--output_dir",
        str(tmp_path / "units"),
    ]
    entry.main(command)
    assert CTCTokenizer(tmp_path / "units/bpe.model").num_units == 61
