"""CTC units of checkpoints: characters with a word delimiter, and pieces of words, against their own tokenizers."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import transformers

from speechllama.text.checkpoint_units import (
    CheckpointUnits,
    choose_cases,
    read_units,
    spell_numbers,
    write_checkpoint_units,
)
from speechllama.text.tokenizer import CTCTokenizer, train_tokenizer

LETTERS = ["<s>", "</s>", "<unk>", "<pad>", "|", *"EDHRUNTL'"]  # of wav2vec 2.0; blank is <pad>
PIECES = ["<unk>", "▁the", "▁", "d", "o", "g", "▁do", "é", "s", "▁s", "▁dog", "<pad>"]  # of Parakeet; blank is last


def save_letters(folder: Path, letters: list[str] = LETTERS) -> Path:
    """Save a tokenizer of characters, as fine-tuned wav2vec 2.0 has one."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({letter: number for number, letter in enumerate(letters)}))
    transformers.Wav2Vec2CTCTokenizer(str(folder / "vocab.json")).save_pretrained(folder)
    return folder


def save_pieces(folder: Path) -> Path:
    """Save a tokenizer of pieces of words, as Parakeet has one."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    vocab = {piece: number for number, piece in enumerate(PIECES)}
    merges = [("▁", "s"), ("▁", "do"), ("▁do", "g")]
    merges = [pair for pair in merges if all(piece in vocab for piece in (*pair, "".join(pair)))]
    tokenizer = Tokenizer(models.BPE(vocab, merges, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoders.Metaspace()
    fast = transformers.ParakeetTokenizer(tokenizer_object=tokenizer, unk_token="<unk>", pad_token="<pad>")
    fast.save_pretrained(folder)
    return folder


CHECKPOINTS: dict[str, tuple[Callable[[Path], Path], list[str], int]] = {
    "letters": (save_letters, LETTERS, 3),
    "pieces": (save_pieces, PIECES, 11),
}


def write(folder: Path, kind: str, texts: list[str]) -> CheckpointUnits:
    make, vocabulary, blank = CHECKPOINTS[kind]
    source = make(folder / kind)
    path = write_checkpoint_units((str(source), None), blank_first(blank, len(vocabulary)), texts, folder / "units")
    units = read_units(path)
    assert isinstance(units, CheckpointUnits)
    return units


def blank_first(blank: int, num_units: int) -> list[int]:
    return [blank, *(number for number in range(num_units) if number != blank)]


def merged(numbers: list[int]) -> list[int]:
    return [number for number, _ in itertools.groupby(numbers)]


@pytest.mark.parametrize("kind", CHECKPOINTS)
def test_the_text_is_what_the_checkpoints_own_tokenizer_makes_of_its_labels(kind: str, tmp_path: Path) -> None:
    units = write(tmp_path, kind, ["The dog runs."])
    _, vocabulary, blank = CHECKPOINTS[kind]
    own = transformers.AutoTokenizer.from_pretrained(tmp_path / kind)
    written = [number for number, piece in enumerate(vocabulary) if not piece.startswith("<") or number == blank]
    order = blank_first(blank, len(vocabulary))
    draw = random.Random(1)
    for _ in range(50):
        frames = [draw.choice(written) for _ in range(20)]  # labels of frames, as CTC gives them
        ours = [order.index(number) for number in merged(frames) if number != blank]
        expected = " ".join(str(own.decode(frames)).split()).lower()
        assert units.decode(ours) == expected
        assert units.decode([0, *ours, 0]) == expected


def test_letters_are_units_in_their_order_with_blank_first(tmp_path: Path) -> None:
    units = write(tmp_path, "letters", ["the end"])
    assert units.num_units == len(LETTERS)
    assert units.texts == ["", "", "", "", " ", *"edhrun", "t", "l", "'"]
    encoded = units.encode("The hell")
    assert [units.texts[unit] for unit in encoded] == ["t", "h", "e", " ", "h", "e", "l", "l"]
    assert units.decode(encoded) == "the hell"  # two l, which a CTC tokenizer would merge
    assert units.encode("") == [] and units.encode("12é") == []  # no unit: CTC never writes them


def test_pieces_of_words_say_where_a_word_begins(tmp_path: Path) -> None:
    units = write(tmp_path, "pieces", ["The dog."])
    assert units.texts == ["", "", " the", " ", "d", "o", "g", " do", "é", "s", " s", " dog"]
    assert units.decode([2, 7, 6, 9]) == "the dogs"
    assert units.decode(units.encode("s dé")) == "s dé"


def test_a_unit_that_is_none_is_refused(tmp_path: Path) -> None:
    units = write(tmp_path, "letters", ["the end"])
    with pytest.raises(ValueError, match="units.json: there are units 0 to 13, found 14"):
        units.decode([1, 14])


@pytest.mark.parametrize(
    ("vocabulary", "transcripts", "expected"),
    [
        ("ABC'", ["the end"], ("upper", "lower")),
        ("ABC", ["The End."], ("upper", "lower")),  # its capital letters are errors of CTC
        ("ABC", ["THE END", "I'M"], ("upper", "upper")),  # LibriSpeech
        ("abc", ["THE END"], ("lower", "upper")),
        ("abc", ["The end"], ("lower", "lower")),
        ("abcABC", ["THE END"], ("as_it_is", "as_it_is")),
        ("ABCß", ["Der Hund"], ("upper", "lower")),  # ß, which has no capital, does not count as lower case
        ("的一", ["我们"], ("as_it_is", "as_it_is")),
        ("ABC", ["123", ""], ("upper", "lower")),
    ],
)
def test_units_of_one_case_write_that_of_the_transcripts(
    vocabulary: str, transcripts: list[str], expected: tuple[str, str]
) -> None:
    assert choose_cases(vocabulary, transcripts) == expected


def test_capital_transcripts_are_written_in_capitals(tmp_path: Path) -> None:
    units = write(tmp_path, "letters", ["THE END"])
    assert units.decode(units.encode("the end")) == "THE END" and " " in units.texts and "E" in units.texts


def test_more_units_than_the_tokenizer_has_are_without_text(tmp_path: Path) -> None:
    source = save_letters(tmp_path / "letters")
    path = write_checkpoint_units((str(source), None), blank_first(3, len(LETTERS) + 2), ["a"], tmp_path / "units")
    units = read_units(path)
    assert units.num_units == 16 and units.texts[14:] == ["", ""] and units.decode([14, 15]) == ""


def test_a_vocabulary_of_many_languages_is_that_of_its_own_language(tmp_path: Path) -> None:
    """As MMS has one: the CTC head and the tokenizer of its files are of one language."""
    source = tmp_path / "many"
    source.mkdir()
    vocabularies = {"eng": ["<s>", "</s>", "<unk>", "<pad>", "|", "t", "h", "e"], "deu": [*LETTERS[:5], "d", "a", "s"]}
    nested = {name: {letter: number for number, letter in enumerate(letters)} for name, letters in vocabularies.items()}
    (source / "vocab.json").write_text(json.dumps(nested))
    transformers.Wav2Vec2CTCTokenizer(str(source / "vocab.json"), target_lang="deu").save_pretrained(source)
    units = read_units(write_checkpoint_units((str(source), None), blank_first(3, 8), ["Das"], tmp_path / "units"))
    assert units.texts == ["", "", "", "", " ", "d", "a", "s"]
    assert units.decode(units.encode("Das das")) == "das das"


def test_bytes_that_are_no_whole_character_have_no_text_but_are_decoded_together(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = ["<pad>", *sorted(pre_tokenizers.ByteLevel.alphabet())]
    tokenizer = Tokenizer(models.BPE({piece: number for number, piece in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>").save_pretrained(tmp_path / "b")
    path = write_checkpoint_units((str(tmp_path / "b"), None), range(len(alphabet)), ["x"], tmp_path / "units")
    units = read_units(path)
    encoded = units.encode("né a")
    assert units.decode(encoded) == "né a" and len(encoded) == 5
    assert [units.texts[unit] for unit in encoded] == ["n", "", "", " ", "a"]


def test_what_are_no_units_is_refused(tmp_path: Path, tiny_llm: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no such units; run the tokenizer stage"):
        read_units(tmp_path / "units.json")
    (tmp_path / "units.json").write_text('{"texts": ["", "a"], "blank": 0, "reads": "loudly", "writes": "lower"}')
    with pytest.raises(ValueError, match="no CTC units of a checkpoint .*loudly"):
        read_units(tmp_path / "units.json")
    with pytest.raises(ValueError, match="transformers finds no tokenizer of its CTC units"):
        write_checkpoint_units((str(tmp_path), None), range(4), ["a"], tmp_path / "out")
    source = save_letters(tmp_path / "control", LETTERS[:5])
    with pytest.raises(ValueError, match="its tokenizer has a text for none of its 5 CTC units"):
        write_checkpoint_units((str(source), None), blank_first(3, 5), ["a"], tmp_path / "out")


def test_spelling_needs_a_unit_with_a_text(tmp_path: Path) -> None:
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(save_letters(tmp_path))
    assert spell_numbers(tokenizer, [0, 1, 2]) == ["", "", ""]
    assert spell_numbers(tokenizer, [3, 5, 4]) == ["", "E", " "]


def test_sentencepiece_units_are_read_as_before(tmp_path: Path) -> None:
    path = train_tokenizer(["the dog sleeps", "the old dog"], tmp_path, 20)
    assert isinstance(read_units(path), CTCTokenizer)
