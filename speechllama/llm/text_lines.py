"""What the LLM learns from that a recipe trains itself.

llm_text.tsv (lang, sentence, translation[, target]) -> lines, mixed with plain text; settings of their prompts
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from speechllama.config import from_mapping
from speechllama.data.tsv import BadRow, read_header, read_tsv
from speechllama.faults import InputError, first_ten
from speechllama.text.prompt import PromptConfig, prompt_conf_of
from speechllama.text.targets import DEFAULT_TARGET

# Tasks that pairs of text teach; the answer is the translation, the sentence itself, the one and then the other.
TRANSLATE, COPY, BOTH = "st", "asr", "cot"


class Line(NamedTuple):
    """A source sentence and its translation, with the codes of both languages; plain text has no source sentence."""

    sentence: str
    translation: str
    language: str = ""
    target: str = ""  # "": the corpus's


@dataclass(frozen=True)
class TextCorpus:
    """Text that an LLM learns from.

    Attributes:
        text: Pairs and plain text, see `read_lines`.
        held_out: Source sentences that the LLM is tested on; none of them may be among the text.
        target: The language of the translations, which the prompts name, where a line has none of its own.
        prompt_conf: Settings of the prompts, as the YAML of the systems has them.
    """

    text: str | Path
    held_out: Sequence[str]
    target: str = DEFAULT_TARGET
    prompt_conf: Mapping[str, Any] = field(default_factory=dict)

    def prompt_config(self, task: str) -> PromptConfig:
        """Settings of the prompts of a task; one without a template of its own has the default."""
        conf = dict(self.prompt_conf)
        if task not in (TRANSLATE, *(conf.get("by_task") or {})):
            conf = {key: value for key, value in conf.items() if key not in ("template", "by_language")}
        conf = prompt_conf_of({"target": self.target, **conf}, task, "prompt_conf")
        return from_mapping(PromptConfig, conf, "prompt_conf")


def read_lines(path: str | Path) -> list[Line]:
    """Read the pairs of a TSV; a row without a sentence is plain text.

    Args:
        path: It has the columns sentence and translation, and may have lang and target, codes of their languages.

    Raises:
        ValueError: It has none.
    """
    faults: list[BadRow] = []
    there = [name for name in ("lang", "target") if name in read_header(path)]
    lines = []
    for _, (sentence, translation, *codes) in read_tsv(path, ("sentence", "translation", *there), faults):
        named = dict(zip(there, codes, strict=True))
        lines.append(Line(sentence, translation, named.get("lang", ""), named.get("target", "")))
    if faults:
        logging.warning("%s: left out %d rows:%s", path, len(faults), first_ten(list(map(str, faults))))
    if not lines:
        raise InputError(f"{path}: no pairs; expected columns lang, sentence, translation")
    return lines


def mix_lines(lines: Sequence[Line], plain_share: float) -> list[Line]:
    """Add the pairs' translations as plain text, and repeat the pairs until it is no more than its share.

    Args:
        lines: Pairs and plain text.
        plain_share: Most that plain text may be, 0 to below 1; 0 leaves it out.

    Returns:
        Pairs, as often as needed, then plain text, each line once.

    Raises:
        ValueError: The share is outside that range, or there is no pair.
    """
    if not 0 <= plain_share < 1:
        raise InputError(f"plain_share {plain_share} is not between 0 and below 1")
    pairs = [line for line in lines if line.sentence]
    if not pairs:
        raise InputError(f"{len(lines)} lines of plain text and no pair: the LLM would not learn to use audio")
    if plain_share == 0:
        return pairs
    plain = [Line("", text) for text in dict.fromkeys(line.translation for line in lines)]  # in no prompt
    times = math.ceil(len(plain) * (1 - plain_share) / (plain_share * len(pairs)))
    logging.info("%d pairs, each %d times, and %d lines of plain text", len(pairs), times, len(plain))
    return pairs * times + plain
