"""The tasks: what the LLM writes about the speech; to add one, add a record to TASKS.

--task asr -> TASKS["asr"] -> reference table, default prompt, metrics and the one that ranks
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from speechllama.registry import Registry

CTCTarget = Literal["transcript", "translation"]
# Table of a data directory -> what CTC calls it when it learns it.
TABLES: dict[CTCTarget, str] = {"transcript": "src_text", "translation": "text"}


@dataclass(frozen=True)
class Metric:
    """A score of a set of texts.

    Attributes:
        name: Its key in score.json: "bleu".
        title: What a table calls it: "BLEU".
        is_higher_better: Whether a larger value is the better one.
        unit: What follows the title in a table: "" or "%".
    """

    name: str
    title: str
    is_higher_better: bool = True
    unit: str = ""


BLEU = Metric("bleu", "BLEU")
CHRF = Metric("chrf", "chrF")
WER = Metric("wer", "WER", is_higher_better=False, unit="%")
CER = Metric("cer", "CER", is_higher_better=False, unit="%")


@dataclass(frozen=True)
class Task:
    """What there is to know of a task.

    Attributes:
        name: What `--task` says; directories of systems begin with it.
        title: A noun for pages: "Translation".
        reference: Table of a data directory with what should be written.
        prompt: Default template, with `{audio}` where the audio goes. Ours: the paper does not give its prompt. The
            source language is not named, as in the paper's many-to-English model.
        metrics: Scores, the one that ranks systems first.
    """

    name: str
    title: str
    reference: str
    prompt: str
    metrics: tuple[Metric, ...]

    @property
    def ranks_by(self) -> Metric:
        """The metric that decides which system is better."""
        return self.metrics[0]

    @property
    def ctc_target(self) -> CTCTarget:
        """The CTC target that is the very text this task writes."""
        return next(target for target, table in TABLES.items() if table == self.reference)


TASKS: Registry[Task] = Registry(
    "task",
    [
        Task("st", "Translation", "text", "Translate the speech to English: {audio} English:", (BLEU, CHRF)),
        Task("asr", "Recognition", "src_text", "Write down the speech: {audio} Text:", (WER, CER)),
    ],
)
