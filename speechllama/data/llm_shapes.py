"""Lengths that LLM batches are made by: utt2num_frames, text -> LLM positions of each utterance.

utt2num_frames, text -> "utterance positions"; skipped utterances; a page on both
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from speechllama.data.data_dir import TARGET_TABLE, DataDir
from speechllama.data.skipped import Reason, Skip, write_skipped
from speechllama.faults import InputError, first_ten
from speechllama.files import atomic_write, write_table
from speechllama.text.prompt import Prompt
from speechllama.text.tasks import TASKS, Task

NUM_EXAMPLES = 3  # of texts that the tokenizer cannot encode


@dataclass(frozen=True)
class PositionCounter:
    """Counts what an utterance takes of the LLM.

    Attributes:
        prompts: Render prompts and texts, by task; one of several tasks is chosen anew in each epoch, and what counts
            is the longest.
        num_vectors: Feature frames -> vectors, at most, where there is no cache.
        context: The LLM's positions; None: without a limit.
        text_name: The table of targets, if not that of the task.
        transcript: The table of what a teacher reads in the place of the audio; "" without one.
    """

    prompts: Mapping[str, Prompt]
    num_vectors: Callable[[int], int]
    context: int | None = None
    text_name: str = ""
    transcript: str = ""

    @property
    def prompt(self) -> Prompt:
        """Any of them: they have one tokenizer."""
        return next(iter(self.prompts.values()))

    @property
    def tables(self) -> dict[str, str]:
        """The tables of all that is written, by those that the tasks name."""
        names = dict.fromkeys(name for task in self.prompts for name in TASKS[task].references)
        return {name: self.text_name if self.text_name and len(names) == 1 else name for name in names}

    def check_tables(self, data: DataDir) -> None:
        """Refuse a data directory without a table of what should be written.

        Raises:
            ValueError: A table is not there, or has no text.
        """
        if self.transcript and not any(data.table(self.transcript).values()):
            raise InputError(
                f"{data.path}: no {self.transcript}, which the teacher reads (distill_conf); write that table, or take "
                "a system without distill_conf"
            )
        for name in self.tables.values():
            if not any(data.table(name).values()):
                raise InputError(
                    f"{data.path}: no {name}, which the task learns to write ({', '.join(self.prompts)}); write that "
                    "table, or choose another --task"
                )


@dataclass
class LLMShapes:
    """What was counted in a data directory.

    Attributes:
        positions: Prompt, audio, text and its end, of each utterance that training can use.
        skipped: Why each of the others is left out.
        lost: Characters that the tokenizer cannot encode, with the number of texts that hold each.
        lossy: Utterances whose text does not come back from its tokens, with that text and what becomes of it.
    """

    positions: dict[str, int] = field(default_factory=dict)
    skipped: dict[str, Skip] = field(default_factory=dict)
    lost: Counter[str] = field(default_factory=Counter)
    lossy: dict[str, tuple[str, str]] = field(default_factory=dict)


def write_llm_shapes(data: DataDir, counter: PositionCounter, output_file: str | Path) -> LLMShapes:
    """Count prompt, audio and text positions of each utterance; leave out those that no training can use.

    Batches made by this number hold about equal work for the LLM, which audio or text length by itself would not give.

    Args:
        data: Data directory with the cache or with features.
        counter: What counts.
        output_file: The shape file; next to it come `<output_file>.skipped` and a page, `<output_file>.md`.

    Returns:
        What was counted.

    Raises:
        ValueError: No utterance is left.
    """
    shapes = count_positions(data, counter)
    page = describe_shapes(shapes, data, counter)
    if not shapes.positions:
        names = " and ".join(counter.tables.values())
        raise InputError(f"{data.path}: no utterance has audio and {names} that fit the LLM. {page}")
    write_table(output_file, {utterance: str(count) for utterance, count in shapes.positions.items()})
    write_skipped(f"{output_file}.skipped", shapes.skipped)
    with atomic_write(f"{output_file}.md") as stream:
        stream.write(page)
    log = logging.warning if shapes.skipped or shapes.lossy else logging.info
    log("%s: %s", output_file, page.rstrip("\n"))
    return shapes


def count_positions(data: DataDir, counter: PositionCounter) -> LLMShapes:
    """Count what each utterance takes; see `write_llm_shapes`."""
    counter.check_tables(data)
    count = int if data.table("compressed.scp") else counter.num_vectors
    sources = {name: data.table(table) for name, table in counter.tables.items()}
    spoken = data.table(counter.transcript) if counter.transcript else {}
    asked = [data.table(name) for name in ("utt2lang", "prompt", TARGET_TABLE)]
    shapes = LLMShapes()
    for utterance, frames in data.num_frames.items():
        texts = {name: table.get(utterance, "") for name, table in sources.items()}
        skip, tokens = _encode_all(counter, texts, utterance, shapes)
        words = counter.prompt.encode(spoken.get(utterance, ""))
        if counter.transcript and not words:
            skip = skip or Skip(
                Reason.NO_TOKENS, f"its {counter.transcript} {spoken.get(utterance, '')!r} has no tokens"
            )
        if skip is None:
            ids = {task: prompt.render(*(table.get(utterance, "") for table in asked))
                   for task, prompt in counter.prompts.items()}  # fmt: skip
            around = {task: len(found.prompt) + len(found.suffix) for task, found in ids.items()}
            audio = max(count(int(frames)), len(words))  # one of them at a time stands between prompt and text
            longest = max(counter.prompts, key=lambda task: around[task] + len(tokens[task]))
            positions = around[longest] + audio + len(tokens[longest])
            if counter.context is None or positions <= counter.context:
                shapes.positions[utterance] = positions + 1
                continue
            what = "the audio or the transcript" if counter.transcript else "the audio"
            found = f"{around[longest]} of the prompt, {audio} of {what}, {len(tokens[longest])} of the text"
            skip = Skip(Reason.BEYOND_CONTEXT, f"{found}, the LLM has {counter.context}")
        shapes.skipped[utterance] = skip
    return shapes


def _encode_all(
    counter: PositionCounter, texts: Mapping[str, str], utterance: str, shapes: LLMShapes
) -> tuple[Skip | None, dict[str, list[int]]]:
    """Encode what each task writes of an utterance, and note what is lost; or say why it is left out."""
    found: dict[str, list[int]] = {}
    for task, prompt in counter.prompts.items():
        record = TASKS[task]
        names = {counter.tables[part.reference]: texts[part.reference] for part in record.scored}
        empty = next((name for name, text in names.items() if not prompt.encode(text)), None)
        if empty:
            return Skip(Reason.NO_TOKENS, f"its {empty} {names[empty]!r} has no tokens"), {}
        marked = next((name for name, text in names.items() if record.separator and record.separator in text), None)
        if marked:
            return Skip(Reason.HAS_SEPARATOR, f"its {marked} {names[marked]!r} holds {record.separator!r}"), {}
        text = record.join(texts)
        tokens = prompt.encode(text)
        lost = prompt.lost(text, tokens)
        if lost:
            shapes.lossy[utterance] = (text, prompt.decode(tokens))
            shapes.lost.update(lost if lost != text else "")
        found[task] = tokens
    return None, found


def check_separator(prompt: Prompt, task: Task) -> None:
    """Refuse an LLM that cannot write what stands between the parts of a task's outputs.

    Raises:
        ValueError: Its tokenizer loses it.
    """
    if task.separator and prompt.decode(prompt.encode(task.separator)) != task.separator:
        raise InputError(
            f"the LLM's tokenizer cannot write {task.separator!r}, which stands between the parts of what the task "
            f"{task.name} writes; take another LLM, or {' and '.join(task.parts)} as tasks of their own"
        )


def describe_shapes(shapes: LLMShapes, data: DataDir, counter: PositionCounter) -> str:
    """Say in a few lines what is left out, and what the tokenizer cannot encode."""
    total = len(shapes.positions) + len(shapes.skipped)
    page = f"{data.path}: kept {len(shapes.positions):,} of {total:,} utterances for the LLM.\n"
    for reason, number in Counter(skip.reason for skip in shapes.skipped.values()).items():
        details = [f"{utt}: {skip.detail}" for utt, skip in shapes.skipped.items() if skip.reason == reason]
        page += f"\n{number:,} {reason.in_words}:{first_ten(details)}\n"
    if shapes.lossy:
        lost = ", ".join(f"{char!r} in {number:,}" for char, number in shapes.lost.most_common(10))
        page += f"\nThe LLM's tokenizer loses a part of {len(shapes.lossy):,} texts"
        page += f" (characters: {lost})" if lost else ""
        page += "; what it loses is never learned and never written:"
        shown = list(shapes.lossy.items())[:NUM_EXAMPLES]
        page += "".join(f"\n  {utterance}: {text} -> {back}" for utterance, (text, back) in shown) + "\n"
    return page
