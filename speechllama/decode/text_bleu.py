"""How well an LLM translates written text: BLEU without any audio.

sentence -> [prompt ; sentence ; suffix] -> greedy search -> BLEU against its translation
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sacrebleu.metrics import BLEU

from speechllama.decode.search import SearchConfig, search
from speechllama.faults import InputError
from speechllama.files import atomic_write
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.model.prefix_mask import join_right_aligned
from speechllama.text.padding import pad_ids
from speechllama.text.prompt import Prompt, PromptConfig
from speechllama.text.targets import DEFAULT_TARGET, TARGETS
from speechllama.text.tasks import DEFAULT_TASK


class TextBleu(NamedTuple):
    """BLEU (0 to 100) with its signature, the number of sentences, and one of them with its translation."""

    bleu: float
    signature: str
    num_sentences: int
    example: str


def text_bleu(
    path: str,
    sentences: Sequence[str],
    translations: Sequence[str],
    batch_size: int = 32,
    target: str = DEFAULT_TARGET,
) -> TextBleu:
    """Translate written sentences with the prompt and the search that speech will use.

    Args:
        path: Hugging Face directory.
        sentences: Source sentences.
        translations: Their references.
        batch_size: Sentences at once.
        target: The language of the translations, which the prompt names and whose tokenizer BLEU uses.

    Returns:
        BLEU, and the first sentence with its hypothesis as an example.

    Raises:
        ValueError: There is no sentence.
    """
    if not sentences:
        raise InputError("no sentence to test the LLM's translation on; give a data directory with src_text and text")
    llm = LLM(LLMConfig(path=path)).eval()
    prompt = Prompt(PromptConfig(target=target), DEFAULT_TASK, load_tokenizer(path))
    before, after = prompt.render()
    hypotheses: list[str] = []
    for start in range(0, len(sentences), batch_size):
        part = sentences[start : start + batch_size]
        ids, lengths = pad_ids([before + prompt.encode(sentence) + after for sentence in part])
        prefix = join_right_aligned([(llm.embed(ids), lengths)])
        found = search(llm, prefix, lengths * 2 + 10, "causal", SearchConfig(beam_size=1))
        hypotheses += [prompt.decode(nbest[0].tokens) for nbest in found]
    metric = BLEU(tokenize=TARGETS[target].bleu_tokenizer)
    score = metric.corpus_score(hypotheses, [list(translations)]).score
    example = f"{sentences[0]} -> {hypotheses[0]}"
    return TextBleu(float(score), str(metric.get_signature()), len(sentences), example)


def report_text_bleu(found: TextBleu, min_bleu: float, llm_dir: str | Path) -> dict[str, Any]:
    """Write report.md next to the LLM, with a warning where the score is low.

    A frozen LLM that cannot translate written text will not translate speech either: it writes likely text and ignores
    the audio.

    Returns:
        Entries for the LLM's record.
    """
    report = f"Text translation of {found.num_sentences} dev sentences: BLEU {found.bleu:.1f} ({found.signature}).\n"
    entries: dict[str, Any] = {"text_bleu": round(found.bleu, 2), "text_bleu_signature": found.signature}
    if found.bleu < min_bleu:
        entries["warning"] = (
            f"text BLEU {found.bleu:.1f} is below {min_bleu:g} (min_text_bleu of llm.yaml): an LLM that does not "
            "translate written text will hardly translate speech; train it longer (num_steps) or on more text"
        )
        logging.warning("%s", entries["warning"])
        report += f"\nWARNING: {entries['warning']}\n"
    with atomic_write(Path(llm_dir) / "report.md") as stream:
        stream.write(f"# LLM\n\n{report}\n    {found.example}\n")
    return entries
