"""Utterances that a stage leaves out, each with a reason.

{utterance: Skip} <-> "utterance<TAB>reason<TAB>detail" lines of a file called `skipped`
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from speechllama.files import atomic_write


class Reason(str, Enum):
    """Why an utterance is left out; the value is what files hold."""

    NO_FEATURES = "no_features"
    NOT_FINITE = "not_finite"
    NO_UNITS = "no_units"
    TOO_SHORT = "too_short"
    NO_TOKENS = "no_tokens"
    BEYOND_CONTEXT = "beyond_context"
    HAS_SEPARATOR = "has_separator"
    NO_TEXT = "no_text"
    CUT = "cut"
    RUNAWAY = "runaway"
    OTHER = "other"

    @property
    def in_words(self) -> str:
        """What a page says."""
        return _IN_WORDS[self]


_IN_WORDS = {
    Reason.NO_FEATURES: "without features, since the audio cannot be read",
    Reason.NOT_FINITE: "without features, since the front end gave NaN or infinity",
    Reason.NO_UNITS: "without CTC units, left out of CTC training",
    Reason.TOO_SHORT: "with fewer encoder frames than CTC needs, left out of CTC training",
    Reason.NO_TOKENS: "without tokens of the LLM, left out of its training",
    Reason.BEYOND_CONTEXT: "with more positions than the LLM has, left out of its training",
    Reason.HAS_SEPARATOR: "with the words that divide an output, left out of training",
    Reason.NO_TEXT: "of which the teacher wrote nothing, left out of training",
    Reason.CUT: "whose text was cut at the limit of the teacher's search, left out of training",
    Reason.RUNAWAY: "whose text by the teacher repeats itself until it was cut, left out of training",
    Reason.OTHER: "for a reason without a code, see their details",
}


class Skip(NamedTuple):
    """A reason, and what was found: "8 frames become 2, 5 units need 5"."""

    reason: Reason
    detail: str


def write_skipped(path: str | Path, skipped: Mapping[str, Skip]) -> None:
    """Write utterances that were left out, sorted by the bytes of their ids."""
    with atomic_write(path) as stream:
        for utterance, (reason, detail) in sorted(skipped.items(), key=lambda item: item[0].encode()):
            stream.write(f"{utterance}\t{reason.value}\t{' '.join(detail.split())}\n")


def read_skipped(path: str | Path) -> dict[str, Skip]:
    """Read what `write_skipped` wrote; no file means that nothing was left out.

    A line without a code, as older versions wrote them, is a detail of the reason `other`.
    """
    path = Path(path)
    if not path.is_file():
        return {}
    codes = {reason.value for reason in Reason}
    skipped: dict[str, Skip] = {}
    for line in path.read_text(encoding="utf-8").split("\n"):
        utterance, _, rest = line.partition("\t")
        code, tab, detail = rest.partition("\t")
        if utterance:
            skipped[utterance] = Skip(Reason(code), detail) if tab and code in codes else Skip(Reason.OTHER, rest)
    return skipped
