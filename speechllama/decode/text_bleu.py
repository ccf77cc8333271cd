"""How well an LLM translates written text: BLEU without any audio.

sentence -> [prompt ; sentence ; suffix] -> greedy search -> BLEU against its translation
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from speechllama.decode.search import SearchConfig, search
from speechllama.faults import InputError
from speechllama.files import atomic_write
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import join_right_aligned
from speechllama.text.bleu import bleu_metric
from speechllama.text.padding import pad_ids
from speechllama.text.prompt import Prompt, PromptConfig
from speechllama.text.targets import DEFAULT_TARGET, TARGETS
from speechllama.text.tasks import DEFAULT_TASK


class TextBleu(NamedTuple):
    """BLEU (0 to 100) with its signature, the number of sentences, one of them with its translation, and its target."""

    bleu: float
    signature: str
    num_sentences: int
    example: str
    target: str = DEFAULT_TARGET


@dataclass(frozen=True)
class TextPairs:
    """Sentences to translate.

    Attributes:
        sentences: Source sentences.
        translations: Their references.
        languages: Codes of their languages, where prompts name them.
        targets: Codes of the languages of the translations; () where the prompt's settings say it.
    """

    sentences: Sequence[str]
    translations: Sequence[str]
    languages: Sequence[str] = ()
    targets: Sequence[str] = ()


def text_bleu(path: str, pairs: TextPairs, config: PromptConfig | None = None, batch_size: int = 32) -> list[TextBleu]:
    """Translate written sentences with the prompt and the search that speech will use.

    Args:
        path: Hugging Face directory.
        pairs: What is translated.
        config: Settings of the prompts.
        batch_size: Sentences at once.

    Returns:
        BLEU of each target language, cut into words as it needs, and a sentence with its hypothesis as an example.

    Raises:
        ValueError: There is no sentence, or a target's tokenizer is not here.
    """
    config, sentences = config or PromptConfig(), pairs.sentences
    if not sentences:
        raise InputError("no sentence to test the LLM's translation on; give a data directory with src_text and text")
    targets = [target or config.target for target in pairs.targets or [""] * len(sentences)]
    metrics = {target: bleu_metric(TARGETS[target]) for target in dict.fromkeys(targets)}  # before the LLM is loaded
    llm = LLM(LLMConfig(path=path)).eval()
    prompt = Prompt(config, DEFAULT_TASK, load_tokenizer(path))
    languages = pairs.languages or [""] * len(sentences)
    around = [prompt.render(each, target=target) for each, target in zip(languages, targets, strict=True)]
    hypotheses: list[str] = []
    for start in range(0, len(sentences), batch_size):
        part = slice(start, start + batch_size)
        items = zip(around[part], sentences[part], strict=True)
        ids, lengths = pad_ids([ids.prompt + prompt.encode(sentence) + ids.suffix for ids, sentence in items])
        prefix = join_right_aligned([(llm.embed(ids), lengths)])
        found = search(llm, prefix, lengths * 2 + 10, "causal", SearchConfig(beam_size=1))
        hypotheses += [prompt.decode(nbest[0].tokens) for nbest in found]
    results = []
    for target, metric in metrics.items():
        rows = [row for row, each in enumerate(targets) if each == target]
        score = metric.corpus_score([hypotheses[row] for row in rows], [[pairs.translations[row] for row in rows]])
        example = f"{sentences[rows[0]]} -> {hypotheses[rows[0]]}"
        results.append(TextBleu(float(score.score), str(metric.get_signature()), len(rows), example, target))
    return results


def report_text_bleu(found: Sequence[TextBleu], min_bleu: float, llm_dir: str | Path) -> dict[str, Any]:
    """Write report.md next to the LLM, with a warning where a score is low.

    A frozen LLM that cannot translate written text will not translate speech either: it writes likely text and ignores
    the audio.

    Args:
        found: A score for each target language.
        min_bleu: The least of each.
        llm_dir: Where the page goes.

    Returns:
        Entries for the LLM's record; of several targets each is a mapping by target.
    """
    page, warnings = "", []
    for each in found:
        into = f" into {each.target}" if len(found) > 1 else ""
        page += (
            f"Text translation of {each.num_sentences} dev sentences{into}: BLEU {each.bleu:.1f} ({each.signature}).\n"
        )
        if each.bleu < min_bleu:
            warnings.append(
                f"text BLEU {each.bleu:.1f}{into} is below {min_bleu:g} (min_text_bleu of llm.yaml): an LLM that does "
                "not translate written text will hardly translate speech; train it longer (num_steps) or on more text"
            )
    entries: dict[str, Any] = {
        "text_bleu": {each.target: round(each.bleu, 2) for each in found},
        "text_bleu_signature": {each.target: each.signature for each in found},
    }
    if len(found) == 1:
        entries = {key: value[found[0].target] for key, value in entries.items()}
    if warnings:
        entries["warning"] = "; ".join(warnings)
        logging.warning("%s", entries["warning"])
        page += f"\nWARNING: {entries['warning']}\n"
    with atomic_write(Path(llm_dir) / "report.md") as stream:
        stream.write(f"# LLM\n\n{page}" + "".join(f"\n    {each.example}\n" for each in found))
    return entries
