"""Registries of what users add, one frozen record for each; other code asks the record.

name in a YAML or an option -> record -> its settings, its builder, its properties
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

from speechllama.faults import InputError


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
            raise InputError(f"{self.kind} {record.name!r} is there already; choose another name")
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
            raise InputError(f"unknown {self.kind} {name!r}, expected one of {', '.join(self._records)}{hint}")
        return self._records[name]

    def __contains__(self, name: object) -> bool:
        return name in self._records

    def __iter__(self) -> Iterator[str]:
        return iter(self._records)

    def __len__(self) -> int:
        return len(self._records)


class Buildable(Named, Protocol):
    """A record with settings of its own, and a builder that takes them first."""

    @property
    def settings(self) -> type[Any]:
        """Frozen dataclass of `<name>_conf`."""

    @property
    def build(self) -> Callable[..., Any]:
        """Settings, and what else the kind of record needs -> the component."""


BuildableRecord = TypeVar("BuildableRecord", bound=Buildable)


@dataclass(frozen=True)
class Choice(Generic[BuildableRecord]):
    """A record and its settings: what `compressor: units` and `compressor_conf: {num_clusters: 500}` say.

    Attributes:
        record: The record.
        settings: An instance of its settings class.
    """

    record: BuildableRecord
    settings: Any

    def build(self, *arguments: Any) -> Any:
        """Build the component; the arguments are those of the record's builder after the settings."""
        return self.record.build(self.settings, *arguments)

    def conf(self) -> dict[str, Any]:
        """Return the settings as a mapping, defaults included, as a config.yaml records them."""
        return dataclasses.asdict(self.settings)


def choose(
    registry: Registry[BuildableRecord], name: str, conf: Mapping[str, Any], where: str
) -> Choice[BuildableRecord]:
    """Look a record up and read its settings.

    Args:
        registry: Where it is.
        name: Its name.
        conf: Its settings; those absent keep their default.
        where: What these are called in messages, such as "conf/u.yaml: compressor_conf".

    Returns:
        Both.

    Raises:
        ValueError: There is no such record, or a setting is unknown or does not fit.
    """
    from speechllama.config import from_mapping  # needs YAML, which a parser of options does without

    record = registry[name]
    return Choice(record, from_mapping(record.settings, conf, where))
