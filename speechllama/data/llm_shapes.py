"""Lengths that LLM batches are made by: utt2num_frames, text -> LLM positions of each utterance.

utt2num_frames, text -> "utterance positions"; skipped utterances; a page on both
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from speechllama.data.data_dir import TARGET_TABLE, DataDir
from speechllama.data.skipped import Reason, Skip, write_skipped
from speechllama.faults import InputError, first_ten
from speechllama.files import atomic_write, write_table
from speechllama.text.prompt import Prompt

NUM_EXAMPLES = 3  # of texts that the tokenizer cannot encode


@dataclass(frozen=True)
class PositionCounter:
    """Counts what an utterance takes of the LLM.

    Attributes:
        prompt: Renders prompts and text.
        text_name: The table of targets.
        num_vectors: Feature frames -> vectors, at most, where there is no cache.
        context: The LLM's positions; None: without a limit.
    """

    prompt: Prompt
    text_name: str
    num_vectors: Callable[[int], int]
    context: int | None = None


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
        raise InputError(f"{data.path}: no utterance has audio and {counter.text_name} that fit the LLM. {page}")
    write_table(output_file, {utterance: str(count) for utterance, count in shapes.positions.items()})
    write_skipped(f"{output_file}.skipped", shapes.skipped)
    with atomic_write(f"{output_file}.md") as stream:
        stream.write(page)
    log = logging.warning if shapes.skipped or shapes.lossy else logging.info
    log("%s: %s", output_file, page.rstrip("\n"))
    return shapes


def count_positions(data: DataDir, counter: PositionCounter) -> LLMShapes:
    """Count what each utterance takes; see `write_llm_shapes`."""
    prompt, context = counter.prompt, counter.context
    count = int if data.table("compressed.scp") else counter.num_vectors
    texts, languages, templates = data.table(counter.text_name), data.table("utt2lang"), data.table("prompt")
    targets = data.table(TARGET_TABLE)
    shapes = LLMShapes()
    for utterance, frames in data.num_frames.items():
        text = prompt.task.text_of(texts.get(utterance, ""))
        tokens = prompt.encode(text)
        if not tokens:
            shapes.skipped[utterance] = Skip(Reason.NO_TOKENS, f"its {counter.text_name} {text!r} has no tokens")
            continue
        lost = prompt.lost(text, tokens)
        if lost:
            shapes.lossy[utterance] = (text, prompt.decode(tokens))
            shapes.lost.update(lost if lost != text else "")
        ids = prompt.render(*(table.get(utterance, "") for table in (languages, templates, targets)))
        around, audio = len(ids.prompt) + len(ids.suffix), count(int(frames))
        if context is not None and around + audio + len(tokens) > context:
            found = f"{around} of the prompt, {audio} of the audio, {len(tokens)} of the text, the LLM has {context}"
            shapes.skipped[utterance] = Skip(Reason.BEYOND_CONTEXT, found)
            continue
        shapes.positions[utterance] = around + audio + len(tokens) + 1
    return shapes


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
