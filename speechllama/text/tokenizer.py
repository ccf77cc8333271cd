"""CTC units: text <-> units in 1..C-1, 0 is blank; SentencePiece pieces of all languages together."""

from __future__ import annotations

import functools
import io
import logging
import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

import sentencepiece

from speechllama.faults import InputError, MissingFileError
from speechllama.files import writing

REQUIRED = re.compile(r"required_chars\. \d+ vs (\d+)")  # SentencePiece's message about too few pieces
SPACE = "▁"  # what SentencePiece writes for one
MAX_SENTENCE_BYTES = 16384  # SentencePiece leaves out longer lines; no spoken sentence is that long


def train_tokenizer(
    texts: Sequence[str],
    output_dir: str | Path,
    vocab_size: int,
    model_type: Literal["unigram", "bpe"] = "bpe",
    character_coverage: float = 0.9995,
) -> Path:
    """Train CTC units; the same texts give the same bytes.

    The text is taken as it is (identity normalisation, true case); only runs of spaces become one.

    Args:
        texts: Transcripts; empty ones are left out.
        output_dir: Where `bpe.model` goes (the name is the same for both types).
        vocab_size: Pieces wanted, the unknown piece included. Little text gives fewer, above all unigram; a text of
            more characters than that gets one for each, with a warning.
        model_type: SentencePiece's model.
        character_coverage: Share of the characters that get pieces; the rest is unknown.

    Returns:
        The model's path.

    Raises:
        ValueError: There is no text, or SentencePiece refuses the sizes.
    """
    sentences = [text for text in (" ".join(text.split()) for text in texts) if text]
    if not sentences:
        raise InputError(f"found no text in {len(texts):,} lines to train CTC units on")
    make = functools.partial(_make_pieces, sentences, model_type, character_coverage)
    try:
        model = make(vocab_size)
    except (RuntimeError, OSError) as error:
        least = REQUIRED.search(str(error))
        if not least:
            raise InputError(
                f"SentencePiece cannot make {vocab_size} {model_type} pieces of {len(sentences):,} sentences: {error}"
            ) from error
        logging.warning(
            "%d CTC units are too few for the characters of this text, as Chinese or several scripts have; "
            "taking %s, the least there can be. More are better: --vocab_size (--ctc_units of a recipe)",
            vocab_size,
            least[1],
        )
        model = make(int(least[1]))
    path = Path(output_dir) / "bpe.model"
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    with writing(path):
        temporary.write_bytes(model)
    os.replace(temporary, path)
    logging.info("%s: %d CTC units, blank included", path, CTCTokenizer(path).num_units)
    return path


def _make_pieces(sentences: Sequence[str], model_type: str, character_coverage: float, vocab_size: int) -> bytes:
    """SentencePiece's model of these sentences."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences),
        model_writer=written,
        vocab_size=vocab_size,
        model_type=model_type,
        character_coverage=character_coverage,
        hard_vocab_limit=False,
        normalization_rule_name="identity",
        unk_id=0,
        bos_id=-1,
        eos_id=-1,
        pad_id=-1,
        num_threads=1,  # sums of several threads would differ from run to run
        max_sentence_length=MAX_SENTENCE_BYTES,
        minloglevel=2,
    )
    return written.getvalue()


def whole_units(units: Iterable[int], num_units: int, path: Path) -> list[int]:
    """Make units plain integers.

    Args:
        units: Integers of any kind.
        num_units: C, blank included.
        path: Where the units are from, for the message.

    Raises:
        ValueError: A unit is outside 0..C-1.
    """
    whole = [int(unit) for unit in units]
    wrong = [unit for unit in whole if not 0 <= unit < num_units]
    if wrong:
        raise InputError(f"{path}: there are units 0 to {num_units - 1}, found {wrong[0]}")
    return whole


class CTCTokenizer:
    """Text <-> CTC units; unit = piece + 1, 0 is blank.

    Args:
        path: SentencePiece model.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is no SentencePiece model.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MissingFileError(f"{path}: no such SentencePiece model; run the tokenizer stage")
        self._pieces = sentencepiece.SentencePieceProcessor()
        try:
            self._pieces.LoadFromSerializedProto(self.path.read_bytes())
        except RuntimeError as error:
            raise InputError(f"{path}: no SentencePiece model ({error})") from error
        if not self._pieces.get_piece_size():  # an empty file is a model without pieces to it
            raise InputError(f"{path}: no SentencePiece model (it has no pieces)")

    @property
    def num_units(self) -> int:
        """C: pieces and blank."""
        return int(self._pieces.get_piece_size()) + 1

    @property
    def texts(self) -> list[str]:
        """The text of each unit, with a space in front where it begins a word; "" of blank and the unknown unit."""
        pieces = range(self.num_units - 1)
        unknown = self._pieces.unk_id()
        return ["", *("" if piece == unknown else self._text(piece) for piece in pieces)]

    def _text(self, piece: int) -> str:
        return str(self._pieces.id_to_piece(piece)).replace(SPACE, " ")

    def encode(self, text: str) -> list[int]:
        """Turn text into units in 1..C-1; empty text has none."""
        return [piece + 1 for piece in self._pieces.encode(text, out_type=int)]

    def decode(self, units: Sequence[int]) -> str:
        """Turn units into text; blank is dropped, repeats are kept.

        Raises:
            ValueError: A unit is outside 0..C-1.
        """
        units = whole_units(units, self.num_units, self.path)
        return str(self._pieces.decode([unit - 1 for unit in units if unit]))
