"""Pairs of texts among the batches of speech: the transcript stands where the speech would, so that the LLM reads text.

    llm_text.tsv, or the transcripts of the training set -> batches of texts, at random places among those of speech

Which pairs an epoch has, in which batches and where among the others, depends on the seed and the epoch only, as all
batches do; so a training resumes exactly.
"""

from __future__ import annotations

import argparse
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

from speechllama.data.data_dir import TARGET_TABLE, lacks_transcripts
from speechllama.data.sampling import BatchLimits, LanguageSampler
from speechllama.faults import InputError
from speechllama.files import read_table
from speechllama.llm.context import read_context
from speechllama.llm.record import read_llm_record
from speechllama.llm.text_lines import Line, read_lines
from speechllama.text.clean import is_blank
from speechllama.text.tasks import TABLES, TASKS, Task

PREFIX = "text pair "  # of names of pairs: no utterance's name has a space
SOURCE = "source"  # what a pair has in place of `speech` or `compressed`
Preprocess = Callable[[str, dict[str, Any]], dict[str, np.ndarray]]


def read_pairs(text_pairs: str | None, data_dir: Path, task: Task, where: str) -> list[Line]:
    """Read the pairs that are mixed into a training.

    Args:
        text_pairs: A TSV, see `read_lines`; rows of plain text are left out. None: what the utterances of the data
            directory say.
        data_dir: A data directory.
        task: What is trained; its texts must be transcripts or translations.
        where: The YAML, for messages.

    Raises:
        FileNotFoundError: There is no such file.
        ValueError: There is no pair, or the task writes something else.
    """
    others = [name for name in task.references if name not in TABLES.values()]
    if others:
        raise InputError(f"{where}: text_share: the task {task.name} writes {others[0]}, which a text does not tell")
    if text_pairs:
        pairs = [line for line in read_lines(text_pairs) if not any(map(is_blank, line[:2]))]
    else:
        names = (TABLES["transcript"], TABLES["translation"], "utt2lang", TARGET_TABLE)
        tables = [read_table(data_dir / name) if (data_dir / name).is_file() else {} for name in names]
        rows = ([table.get(utterance, "") for table in tables] for utterance in tables[0])
        pairs = [Line(*row) for row in rows if not any(map(is_blank, row[:2]))]
        if task.is_translation and lacks_transcripts(data_dir):
            pairs = []
    if not pairs:
        place = text_pairs or f"{data_dir}/{TABLES['transcript']} and {TABLES['translation']}"
        raise InputError(f"{where}: text_share: no pair of texts in {place}; name a TSV of pairs: text_pairs: FILE")
    return pairs


class TextPairs:
    """Pairs, as the network reads them: prompt, source, suffix and text as token ids.

    Args:
        pairs: The pairs.
        task: What is trained.
        preprocess: Makes ids; the source of a pair stands where the speech of an utterance would.
    """

    def __init__(self, pairs: Sequence[Line], task: Task, preprocess: Preprocess) -> None:
        self.pairs, self.task, self.preprocess = pairs, task, preprocess
        self.names = [f"{PREFIX}{number}" for number in range(len(pairs))]

    def __getitem__(self, name: str) -> dict[str, np.ndarray]:
        line = self.pairs[int(name.removeprefix(PREFIX))]
        texts = {TABLES["transcript"]: line.sentence, TABLES["translation"]: line.translation}
        asked = {"lang": line.language, "target": line.target}
        given = {name: value for name, value in asked.items() if value}
        return self.preprocess(name, {**texts, "text": texts[self.task.reference], SOURCE: line.sentence, **given})

    def count_positions(self, name: str) -> int:
        """LLM positions of a pair, its end included; 0 if a text has no tokens, or holds the task's separator."""
        line = self.pairs[int(name.removeprefix(PREFIX))]
        if self.task.separator and any(self.task.separator in text for text in line[:2]):
            return 0
        try:
            return sum(len(ids) for ids in self[name].values()) + 1
        except InputError:
            return 0


class MixedDataset(Dataset):
    """Utterances of a data set of speech, and pairs."""

    def __init__(self, speech: Any, pairs: TextPairs) -> None:
        self.speech, self.pairs = speech, pairs

    def __getitem__(self, name: str) -> tuple[str, dict[str, np.ndarray]]:
        if name.startswith(PREFIX):
            return name, self.pairs[name]
        found: tuple[str, dict[str, np.ndarray]] = self.speech[name]
        return found


class TextBatches:
    """Adds batches of pairs to those of an epoch.

    Args:
        pairs: The pairs.
        share: Of all batches, 0 to below 1.
        limits: Of a batch, as those of speech.
        seed: The same seed draws the same.
        context: Positions of the LLM; longer pairs are left out. None: without a limit.

    Raises:
        ValueError: No pair fits.
    """

    def __init__(
        self, pairs: TextPairs, share: float, limits: BatchLimits, seed: int, context: int | None = None
    ) -> None:
        counts = {name: pairs.count_positions(name) for name in pairs.names}
        most = (context or max(counts.values())) + 1  # the end of a text takes no position
        kept = {name: [(count, 1)] for name, count in counts.items() if 0 < count <= most}
        if not kept:
            raise InputError(
                f"text_share: none of the {len(counts):,} pairs of texts can be used: they have no tokens of the LLM, "
                f"or more than its {context} positions"
            )
        logging.info("text pairs: %d of %d can be used, in %g %% of the batches", len(kept), len(counts), 100 * share)
        self.pairs, self.share, self.seed = pairs, share, seed
        self.sampler = LanguageSampler(dict.fromkeys(kept, "text"), kept, 1.0, limits, seed)

    def mix(self, loader: DataLoader, epoch: int, part: slice) -> DataLoader:
        """Put batches of pairs among those of a loader.

        Args:
            loader: The batches of speech of an epoch, this process's part of each.
            epoch: From 1.
            part: This process's part of a batch of pairs.
        """
        speech: list[list[str]] = [list(batch) for batch in loader.batch_sampler or []]
        number = round(len(speech) * self.share / (1 - self.share))
        drawn = self.sampler.batches(epoch, number) if number else []
        random = np.random.default_rng((self.seed, epoch, 2))
        places = {*random.choice(len(speech) + number, number, replace=False).tolist()}
        own, texts = iter(speech), iter([batch[part] for batch in drawn])
        batches = [next(texts if place in places else own) for place in range(len(speech) + number)]
        return self._load(loader, batches)

    def append(self, loader: DataLoader, part: slice) -> DataLoader:
        """Put all pairs after the batches of a loader, for validation."""
        drawn = [batch[part] for batch in self.sampler.batches(1)]
        return self._load(loader, [*(list(batch) for batch in loader.batch_sampler or []), *drawn])

    def _load(self, loader: DataLoader, batches: list[list[str]]) -> DataLoader:
        return DataLoader(
            dataset=MixedDataset(loader.dataset, self.pairs),
            batch_sampler=batches,
            num_workers=loader.num_workers,
            pin_memory=loader.pin_memory,
            collate_fn=loader.collate_fn,
            worker_init_fn=loader.worker_init_fn,
        )


def check_text_share(settings: Mapping[str, Any], where: str) -> None:
    """Refuse a share of text where it would do nothing.

    Args:
        settings: Of a training.
        where: The YAML, for messages.

    Raises:
        FileNotFoundError: The file of pairs is not there.
        ValueError: The share is none, the LLM does not train, or pairs are given without a share.
    """
    share, pairs = settings.get("text_share") or 0.0, settings.get("text_pairs")
    if not isinstance(share, int | float) or not 0 <= share < 1:
        raise InputError(f"{where}: text_share: expected a share of the batches, from 0 to below 1, found {share!r}")
    if pairs and not share:
        raise InputError(f"{where}: text_pairs {pairs} would not be read: text_share is 0")
    if share and (settings.get("llm_conf") or {}).get("train", "frozen") == "frozen":
        raise InputError(
            f"{where}: text_share {share}: text trains the LLM, and this one is frozen; take llm_conf: train: lora"
        )
    if pairs and not Path(pairs).is_file():
        raise InputError(f"{where}: text_pairs {pairs}: no such file; expected a TSV with sentence and translation")


def make_text_batches(
    args: argparse.Namespace, preprocess: Preprocess, mode: str, num_processes: int
) -> TextBatches | None:
    """Make the batches of pairs of a training's side; None where there are none.

    In validation the pairs are those of the development set, without which there are none.

    Args:
        args: The settings of the training.
        preprocess: Makes ids.
        mode: "train" or "valid".
        num_processes: Processes that share a batch.
    """
    if not args.text_share or mode not in ("train", "valid"):
        return None
    task, where, is_training = TASKS[args.task_name], str(args.config), mode == "train"
    entries = args.train_data_path_and_name_and_type if is_training else args.valid_data_path_and_name_and_type
    try:
        pairs = read_pairs(args.text_pairs if is_training else None, Path(entries[0][0]).parent, task, where)
    except InputError:
        if is_training:
            raise
        return None
    bins = args.batch_bins if is_training or args.valid_batch_bins is None else args.valid_batch_bins
    limits = BatchLimits(bins, max(args.min_batch_size, num_processes))
    context = read_context(*read_llm_record(args.llm_dir), bool((args.llm_conf or {}).get("random_weights")))
    return TextBatches(TextPairs(pairs, task, preprocess), args.text_share, limits, args.seed, context)


def touch(parameters: Sequence[torch.nn.Parameter]) -> torch.Tensor | float:
    """Zero, with a zero gradient for each parameter that a batch of text does not use.

    Processes that share a batch wait for the gradient of every parameter.
    """
    trained = [parameter for parameter in parameters if parameter.requires_grad]
    return sum((0.0 * parameter.float().sum() for parameter in trained), start=0.0)
