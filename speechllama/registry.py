"""Registries: one frozen record for each thing a user may add; everybody else asks the record and lists no names.

name in a YAML or an option -> record -> its settings, its builder, its properties
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from typing import Generic, Protocol, TypeVar


class Named(Protocol):
    """What a registry holds: a record with a name."""

    @property
    def name(self) -> str:
        """What a YAML or an option calls it."""


Record = TypeVar("Record", bound=Named)


class Registry(Mapping[str, Record], Generic[Record]):
    """Records by name, in the order in which they were added.

    Args:
        kind: What the records are, in the singular, for messages: "compressor".
        records: Those of this package.
    """

    def __init__(self, kind: str, records: Iterable[Record] = ()) -> None:
        self.kind = kind
        self._records: dict[str, Record] = {}
        for record in records:
            self.add(record)

    def add(self, record: Record) -> Record:
        """Add a record, from this package or from outside it.

        Returns:
            The record.

        Raises:
            ValueError: Another one has that name.
        """
        if record.name in self._records:
            raise ValueError(f"{self.kind} {record.name!r} is there already; choose another name")
        self._records[record.name] = record
        return record

    def remove(self, name: str) -> None:
        """Take a record out again, as a test does with the one it added."""
        del self._records[name]

    def __getitem__(self, name: str) -> Record:
        """Look a record up.

        Raises:
            ValueError: There is no such record; the message lists all and names the nearest.
        """
        if name not in self._records:
            near = difflib.get_close_matches(str(name), self._records, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise ValueError(f"unknown {self.kind} {name!r}, expected one of {', '.join(self._records)}{hint}")
        return self._records[name]

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)
