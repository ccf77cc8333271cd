"""CTC units of a checkpoint that brings its CTC head: text <-> units in 1..C-1, 0 is blank.

    the checkpoint's tokenizer, number of blank -> units.json, and the tokenizer's own files next to it
    read_units(bpe.model or units.json) -> CTCUnits

Many such checkpoints write in one case only. What they write gets the case of the transcripts, see `choose_cases`.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from speechllama.constants import UNITS_FILE
from speechllama.faults import InputError, MissingFileError
from speechllama.files import read_json, write_json, writing
from speechllama.hub import explain_hub_error
from speechllama.text.tokenizer import CTCTokenizer, whole_units

BROKEN = "\N{REPLACEMENT CHARACTER}"  # what a part of a character decodes to
# Names of units.json -> what becomes of a text.
CASES: dict[str, Callable[[str], str]] = {"as_it_is": str, "lower": str.lower, "upper": str.upper}


class CTCUnits(Protocol):
    """What CTC writes: SentencePiece units of the recipe, or those of a checkpoint."""

    path: Path

    @property
    def num_units(self) -> int:
        """C, blank included."""

    @property
    def texts(self) -> list[str]:
        """The text of each unit, with a space in front where it begins a word; "" of what has none, such as blank."""

    def encode(self, text: str) -> list[int]:
        """Turn text into units in 1..C-1; empty text has none."""

    def decode(self, units: Sequence[int]) -> str:
        """Turn units into text; blank is dropped, repeats are kept."""


def read_units(path: str | Path) -> CTCUnits:
    """Read CTC units of either kind; errors as those of their classes."""
    return CheckpointUnits(path) if Path(path).name == UNITS_FILE else CTCTokenizer(path)


class CheckpointUnits:
    """Text <-> the CTC units of a checkpoint, renumbered so that blank is 0; the others keep their order.

    Args:
        path: units.json, with the tokenizer's files next to it.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: It is not what `write_checkpoint_units` writes.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise MissingFileError(f"{path}: no such units; run the tokenizer stage")
        record = read_json(self.path)
        try:
            self.texts: list[str] = list(record["texts"])
            self._blank = int(record["blank"])
            self._read, self._write = CASES[record["reads"]], CASES[record["writes"]]
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path}: no CTC units of a checkpoint ({error!r}); run the tokenizer stage") from error
        self._tokenizer = load_units_tokenizer(str(self.path.parent))
        # wav2vec 2.0 counts what stands between words as a control token, too.
        delimiter = getattr(self._tokenizer, "word_delimiter_token_id", None)
        self._control = {self._blank, *self._tokenizer.all_special_ids} - {delimiter}

    @property
    def num_units(self) -> int:
        """C, blank included."""
        return len(self.texts)

    def encode(self, text: str) -> list[int]:
        """Turn text into units in 1..C-1; characters without a unit are left out, since CTC never writes them."""
        numbers = self._tokenizer(self._read(text), add_special_tokens=False).input_ids if text else []
        return [
            number + 1 if number < self._blank else number
            for number in numbers
            if number < self.num_units and number not in self._control
        ]

    def decode(self, units: Sequence[int]) -> str:
        """Turn units into text; blank is dropped, repeats are kept.

        Raises:
            ValueError: A unit is outside 0..C-1.
        """
        whole = whole_units(units, self.num_units, self.path)
        numbers = [unit - 1 if unit <= self._blank else unit for unit in whole if unit]
        return str(self._write(" ".join(join(self._tokenizer, numbers).split())))


def write_checkpoint_units(
    source: tuple[str, str | None], numbers: Sequence[int], texts: Iterable[str], output_dir: str | Path
) -> Path:
    """Write the CTC units of a checkpoint; the same checkpoint and texts give the same bytes.

    Args:
        source: Directory or hub id of the checkpoint, and its revision.
        numbers: Its number of each of our units, blank first: see `CTCUnitNumbers.order`.
        texts: Transcripts, whose case decides that of what CTC writes.
        output_dir: Where units.json and the tokenizer go.

    Returns:
        The path of units.json.

    Raises:
        ValueError: The checkpoint has no tokenizer, or that has a text for none of the units.
    """
    tokenizer = load_units_tokenizer(*source)
    spelled = spell_numbers(tokenizer, numbers)
    if not any(text.strip() for text in spelled):
        raise InputError(f"{source[0]}: its tokenizer has a text for none of its {len(numbers)} CTC units")
    reads, writes = choose_cases(spelled, texts)
    path = Path(output_dir) / UNITS_FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    with writing(path.parent):
        tokenizer.save_pretrained(path.parent)
    spelled = [CASES[writes](text) for text in spelled]
    record = {"source": source[0], "revision": source[1], "blank": numbers[0], "reads": reads, "writes": writes}
    write_json(path, {**record, "texts": spelled})
    logging.info(
        "%s: %d CTC units of %s, blank (its number %d) included; case of its vocabulary: %s, of what it writes: %s",
        *(path, len(numbers), source[0], numbers[0], reads, writes),
    )
    return path


def choose_cases(units: Iterable[str], transcripts: Iterable[str]) -> tuple[str, str]:
    """Decide what becomes of a text before it is encoded, and of one that CTC has written.

    Units of both cases, or of a script without, are taken as they are. Units of one case can write no other, and the
    text becomes upper case if the transcripts have no lower-case letter (LibriSpeech), else lower case, which most
    letters of ordinary texts are. Capital letters of such transcripts count as errors of CTC's text.

    Args:
        units: Texts of the units.
        transcripts: Texts of the training set.

    Returns:
        Names in CASES: before encoding, after decoding.
    """
    letters = {char for text in units for char in text}
    has_lower = any(char != char.upper() and len(char.upper()) == 1 for char in letters)  # ß has no capital letter
    has_upper = any(char != char.lower() for char in letters)
    if has_lower == has_upper:
        return "as_it_is", "as_it_is"
    is_lower, is_upper = False, False
    for text in transcripts:
        is_lower, is_upper = is_lower or text != text.upper(), is_upper or text != text.lower()
    return "lower" if has_lower else "upper", "upper" if is_upper and not is_lower else "lower"


def spell_numbers(tokenizer: Any, numbers: Sequence[int]) -> list[str]:
    """Spell each number of a tokenizer as it would be in the middle of a text, with the space that it may begin with.

    Tokenizers leave out the spaces at the ends of a text. So each is decoded between two others, which are taken off.

    Args:
        tokenizer: Of transformers.
        numbers: Token ids.

    Returns:
        Their texts; "" of control tokens and of those that are part of a character.
    """
    anchor = next((number for number in numbers if join(tokenizer, [number]).strip(f" {BROKEN}")), None)
    if anchor is None:
        return [""] * len(numbers)
    before = join(tokenizer, [anchor])
    after = join(tokenizer, [anchor, anchor])[len(before) :]
    texts = []
    for number in numbers:
        text = join(tokenizer, [anchor, number, anchor])
        is_whole = text.startswith(before) and text.endswith(after) and BROKEN not in text
        texts.append(text[len(before) : len(text) - len(after)] if is_whole else "")
    return texts


def join(tokenizer: Any, numbers: Sequence[int]) -> str:
    """Decode token ids without control tokens; tokenizers for CTC would merge equal neighbours, which are merged."""
    text = tokenizer.decode(
        list(numbers), skip_special_tokens=True, group_tokens=False, clean_up_tokenization_spaces=False
    )
    return str(text)


def load_units_tokenizer(path: str, revision: str | None = None) -> Any:
    """Load the tokenizer of a checkpoint.

    Raises:
        ValueError: transformers finds none.
    """
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(path, revision=revision)
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = explain_hub_error(error) or f"transformers finds no tokenizer of its CTC units: {error}"
        raise InputError(f"{path}: {reason}") from error
