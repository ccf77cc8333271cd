"""Write a data directory that is too large for memory, utterance by utterance."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TextIO

from speechllama.data.data_dir import find_tables
from speechllama.faults import InputError
from speechllama.files import atomic_write

SPEAKERS, INVERSE = "utt2spk", "spk2utt"


class DataDirWriter:
    """Writes the tables line by line; they appear when the block ends, unless it ends with an error.

    Args:
        path: The folder, made if absent; tables there that are not written are removed, other files stay.
        names: The tables, utt2spk among them; spk2utt is written, too.
    """

    def __init__(self, path: str | Path, names: Sequence[str]) -> None:
        self.path, self.names, self.num_utterances = Path(path), tuple(names), 0
        self._speaker_column = self.names.index(SPEAKERS)
        self._stack = ExitStack()
        self._tables: list[TextIO] = []
        self._last = b""
        self._speaker: tuple[str, list[str]] = ("", [])

    def __enter__(self) -> DataDirWriter:
        with ExitStack() as stack:
            files = (atomic_write(self.path / name) for name in (*self.names, INVERSE))
            self._tables = [stack.enter_context(file) for file in files]
            self._stack = stack.pop_all()
        return self

    def add(self, utterance: str, values: Sequence[str]) -> None:
        """Write one utterance.

        Args:
            utterance: Its id, after all earlier ones in the order of bytes.
            values: By table, in the order of `names`.

        Raises:
            ValueError: It is out of order, or a value would break its line.
        """
        key = utterance.encode()
        if key <= self._last:
            raise InputError(f"{self.path}: {utterance!r} comes after {self._last.decode()!r}; sort by bytes")
        if any("\n" in value for value in values) or len(utterance.split()) != 1:
            raise InputError(f"{self.path}: cannot write {utterance!r} with {values!r} as 'key value' lines")
        self._last = key
        self.num_utterances += 1
        for table, value in zip(self._tables[:-1], values, strict=True):
            table.write(f"{utterance} {value}\n")
        speaker = values[self._speaker_column]
        if speaker != self._speaker[0]:
            self._write_speaker()
            self._speaker = (speaker, [])
        self._speaker[1].append(utterance)

    def _write_speaker(self) -> None:
        """Write a speaker's line; his utterances are neighbours, as his name begins them all."""
        speaker, utterances = self._speaker
        if utterances:
            self._tables[-1].write(f"{speaker} {' '.join(utterances)}\n")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._write_speaker()
        self._stack.__exit__(kind, error, trace)
        if kind is None:
            for name in find_tables(self.path):
                if name not in self.names:
                    (self.path / name).unlink()
