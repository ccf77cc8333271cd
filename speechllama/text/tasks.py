"""The tasks: what the LLM writes about the speech; to add one, add a record to TASKS.

--task asr -> TASKS["asr"] -> reference table, default prompt, metrics and the one that ranks
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from speechllama.registry import Registry
from speechllama.text.targets import Target, lack_spaces

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
        unit: What follows a value: "" or "%".
        has_interval: Whether the scorer gives a 95 % interval, `<name>_low` and `<name>_high`.
        compared_by: As a task's, of a metric by which systems are compared though it does not rank; "": they are not.
        of_segments: Whether it is a mean of scores that another program gave each utterance, `<name>.json` next to the
            hypotheses.
    """

    name: str
    title: str
    is_higher_better: bool = True
    unit: str = ""
    has_interval: bool = False
    compared_by: str = ""
    of_segments: bool = False

    @property
    def heading(self) -> str:
        """Heading of its column: "WER %"."""
        return f"{self.title} {self.unit}".rstrip()

    @property
    def in_words(self) -> str:
        """What a sentence calls it: "WER in percent"."""
        return f"{self.title} in percent" if self.unit == "%" else self.title

    def format(self, value: float) -> str:
        """Write a value with title and unit: "WER 12.50 %"."""
        return f"{self.title} {value:.2f} {self.unit}".rstrip()

    def format_interval(self, low: float, high: float) -> str:
        """Write a 95 % interval, " [58.25, 64.75]"."""
        return f" [{low:.2f}, {high:.2f}]"


BLEU = Metric("bleu", "BLEU", has_interval=True)
CHRF = Metric("chrf", "chrF")
TER = Metric("ter", "TER", is_higher_better=False, unit="%")
SEGMENT_MEAN = "speechllama.report.segments:segment_mean"
COMET = Metric("comet", "COMET", has_interval=True, compared_by=SEGMENT_MEAN, of_segments=True)
WER = Metric("wer", "WER", is_higher_better=False, unit="%", has_interval=True)
WER_NORMALISED = Metric("wer_normalised", "WER normalised", is_higher_better=False, unit="%", has_interval=True)
ACCURACY = Metric("accuracy", "Accuracy", unit="%", has_interval=True)
MACRO_F1 = Metric("macro_f1", "macro F1", unit="%")
CER = Metric("cer", "CER", is_higher_better=False, unit="%")
RANKING_CER = replace(CER, has_interval=True)


@dataclass(frozen=True)
class Ranking:
    """A metric that ranks systems, and how it is resampled.

    Attributes:
        metric: The metric, with an interval.
        compared_by: As a task's.
    """

    metric: Metric
    compared_by: str


@dataclass(frozen=True)
class Task:
    """What there is to know of a task.

    Attributes:
        name: What `--task` says; directories of systems begin with it.
        title: A noun for pages: "Translation".
        reference: Table of a data directory with what should be written.
        prompt: Default template, with `{audio}` where the audio goes and, if wanted, `{language}` and `{target}`. Ours:
            the paper does not give its prompt. The source language is not named, as in the paper's many-to-English
            model.
        metrics: Scores, the one that ranks systems first.
        scorer: "module:function" that scores pairs of texts, imported on use: sacreBLEU and jiwer are slow to load. It
            is called as `scorer(pairs, target, num_bootstrap=n)` and returns a frozen dataclass whose fields are the
            keys of score.json: those of the metrics, their signatures, `num_utterances` and `num_empty`. What is
            None is not in score.json: a metric may lack a score, and a page then leaves its column out.
        compared_by: "module:function" that maps a target language (a record of TARGETS) to a sacreBLEU metric that
            gives the score that ranks; systems are compared by resampling it. "" if they are not compared.
        labels: Where the reference table holds labels of a closed set instead of texts: "module:function" that maps a
            label ("de") to the text that is written ("German"); `same` leaves it as it is. "" for texts.
        without_spaces: What ranks instead where a language of the speech is written without spaces between words; None
            if nothing else does.
        parts: Tasks whose texts it writes, in the order of the output; each has a score of its own, and systems are
            ranked by the last. () for a task that writes one text.
        separator: Words between the parts of one output. "" if an output has one part, the one that its prompt asks
            for: then training mixes the parts.
    """

    name: str
    title: str
    reference: str
    prompt: str
    metrics: tuple[Metric, ...]
    scorer: str
    compared_by: str = ""
    without_spaces: Ranking | None = None
    labels: str = ""
    parts: tuple[str, ...] = ()
    separator: str = ""

    @property
    def scored(self) -> tuple[Task, ...]:
        """The tasks that its texts are scored as: its parts, or itself."""
        return tuple(TASKS[part] for part in self.parts) or (self,)

    @property
    def prompted(self) -> tuple[Task, ...]:
        """The tasks that have prompts of their own in its training: the parts that it mixes, or itself."""
        return self.scored if self.parts and not self.separator else (self,)

    @property
    def ranked(self) -> Task:
        """The task by which its systems are ranked."""
        return self.scored[-1]

    @property
    def references(self) -> tuple[str, ...]:
        """The tables with all that it writes, the one that ranks first."""
        return tuple(dict.fromkeys(task.reference for task in reversed(self.scored)))

    def join(self, texts: Mapping[str, str]) -> str:
        """Make the text that is learned: an utterance's texts by table -> one output."""
        return f" {self.separator} ".join(task.text_of(texts.get(task.reference, "")) for task in self.scored)

    def split(self, text: str) -> dict[str, str] | None:
        """Take an output apart: texts by part; None if it lacks a separator.

        What the parts hold is not asked: the first separators count, since the texts that are learned hold no other.
        """
        found = re.split(rf"\s*{re.escape(self.separator)}\s*", text.strip(), maxsplit=len(self.parts) - 1)
        return dict(zip(self.parts, found, strict=True)) if len(found) == len(self.parts) else None

    @property
    def ranks_by(self) -> Metric:
        """The metric that decides which system is better."""
        return self.metrics[0]

    def ranked_by(self, name: str) -> Task:
        """The same task, ranked by the metric that a score.json names; "" is the ordinary one."""
        other = self.without_spaces
        if other is None or name != other.metric.name:
            return self
        rest = tuple(metric for metric in self.metrics if metric.name != name)
        return replace(self, metrics=(other.metric, *rest), compared_by=other.compared_by)

    def ranked_for(self, languages: Iterable[str]) -> Task:
        """The same task, ranked as the languages of the speech need it."""
        return self.ranked_by(self.without_spaces.metric.name if self.without_spaces and lack_spaces(languages) else "")

    @property
    def ctc_target(self) -> CTCTarget:
        """The CTC target that is the very text this task writes; for labels, which CTC cannot learn, the transcript."""
        return next((target for target, table in TABLES.items() if table == self.reference), "transcript")

    @property
    def is_translation(self) -> bool:
        """Whether it writes the target language, not the language of the speech."""
        return self.reference == TABLES["translation"]

    @property
    def is_label(self) -> bool:
        """Whether it writes a label of a closed set, not a text."""
        return bool(self.labels)

    def text_of(self, value: str) -> str:
        """Give what is written for a value of the reference table: a text as it is, of a label its name."""
        return str(_load(self.labels)(value)) if self.labels else value

    def texts_of(self, table: Mapping[str, str]) -> dict[str, str]:
        """Give what is written for each utterance of the reference table."""
        return {utterance: self.text_of(value) for utterance, value in table.items()}

    @property
    def score(self) -> Callable[..., Any]:
        """The scorer itself."""
        return _load(self.scorer)

    @property
    def compared(self) -> tuple[Metric, ...]:
        """The metrics by which systems are compared by resampling, the one that ranks first."""
        others = tuple(metric for metric in self.metrics[1:] if metric.compared_by)
        return ((self.ranks_by,) if self.compared_by else ()) + others

    def make_compared(self, metric: Metric, target: Target) -> Any:
        """Build the sacreBLEU metric by which systems are compared.

        Args:
            metric: One of `compared`.
            target: The language that translations are in.
        """
        return _load(self.compared_by if metric == self.ranks_by else metric.compared_by)(target)

    @property
    def control(self) -> str:
        """The key of score.json with the control's score: "control_bleu"."""
        return f"control_{self.ranks_by.name}"

    def signature(self, metric: Metric) -> str:
        """The key of score.json with a metric's signature: that of the one that ranks has no prefix."""
        return "signature" if metric == self.ranks_by else f"{metric.name}_signature"

    def metrics_of(self, *reports: Mapping[str, Any]) -> tuple[Metric, ...]:
        """The metrics that at least one of some score.json has, and the one that ranks."""
        return tuple(each for each in self.metrics if each == self.ranks_by or any(each.name in one for one in reports))

    @property
    def signatures(self) -> tuple[str, ...]:
        """The keys of score.json with the metrics' signatures."""
        return tuple(map(self.signature, self.metrics))


def same(label: str) -> str:
    """Write a label as its table has it."""
    return label


def _load(place: str) -> Callable[..., Any]:
    """Import "module:function"."""
    module, _, function = place.partition(":")
    found: Callable[..., Any] = getattr(importlib.import_module(module), function)
    return found


_TRANSLATION = Task(
    name="st",
    title="Translation",
    reference="text",
    prompt="Translate the speech to {target}: {audio} {target}:",
    metrics=(BLEU, CHRF, TER, COMET),
    scorer="speechllama.report.score:score_translation",
    compared_by="speechllama.text.bleu:bleu_metric",
)
TASKS: Registry[Task] = Registry(
    "task",
    [
        _TRANSLATION,
        Task(
            name="asr",
            title="Recognition",
            reference="src_text",
            prompt="Write down the speech: {audio} Text:",
            # Texts as they are rank: all systems of a table learn to write as the transcripts are written, and the
            # normalised rate forgives a system that does not.
            metrics=(WER, WER_NORMALISED, CER),
            scorer="speechllama.report.score:score_recognition",
            compared_by="speechllama.report.score:wer_metric",
            without_spaces=Ranking(RANKING_CER, "speechllama.report.score:cer_metric"),
        ),
        replace(
            _TRANSLATION,
            name="cot",
            title="Transcription, then translation",
            prompt="Write down the speech and translate it to {target}: {audio} Text:",
            parts=("asr", "st"),
            # Words that every LLM can write: the recipe's own knows the characters of its texts and prompts only.
            separator="Translation:",
        ),
        replace(_TRANSLATION, name="joint", title="Recognition and translation", parts=("asr", "st")),
        Task(
            name="lid",
            title="Language identification",
            reference="utt2lang",
            labels="speechllama.text.targets:name_language",
            prompt="Name the language of the speech: {audio} Language:",
            metrics=(ACCURACY, MACRO_F1),
            scorer="speechllama.report.labels:score_labels",
            compared_by="speechllama.report.labels:accuracy_metric",
        ),
    ],
)
DEFAULT_TASK = "st"
NUM_WITHOUT = "num_without_separator"  # in decode.json and score.json: outputs that lack one


def trained_task(settings: Mapping[str, Any]) -> Task | None:
    """Find what a system was trained for, by its config.yaml; None where that does not tell.

    A speech LLM names its task. The training of an encoder-decoder knows none: there, the table of its texts tells.
    """
    if settings.get("task_name"):
        return TASKS[settings["task_name"]]
    data = settings.get("train_data_path_and_name_and_type") or []
    tables = [Path(path).name for path, name, *_ in data if name == "text"]
    return next((task for task in TASKS.values() if task.reference in tables), None)


def num_texts(settings: Mapping[str, Any]) -> int:
    """Count the texts that each output of a system holds, by its config.yaml: those of all parts if it joins them."""
    task = trained_task(settings)
    return len(task.parts) if task and task.separator else 1


def task_of(report: Mapping[str, Any]) -> Task:
    """The task of a score.json, ranked as its languages need it."""
    return TASKS[report["task"]].ranked_by(str(report.get("ranks_by", "")))
