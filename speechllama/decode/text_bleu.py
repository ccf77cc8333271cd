"""Text translation of an LLM: what it can do before it hears anything.

    sentence -> [prompt ; sentence ; suffix] -> greedy search -> BLEU against its translation
"""

from __future__ import annotations

from collections.abc import Sequence

import sacrebleu

from speechllama.data.prompt import Prompt, PromptConfig
from speechllama.decode.search import SearchConfig, search
from speechllama.model.layers import pad_ids
from speechllama.model.llm import LLM, LLMConfig
from speechllama.model.llm_files import load_tokenizer
from speechllama.model.prefix_mask import join_right_aligned


def text_bleu(
    path: str, sentences: Sequence[str], translations: Sequence[str], batch_size: int = 32
) -> tuple[float, str]:
    """Translate written sentences with the prompt and the search that speech will use.

    Args:
        path: Hugging Face directory.
        sentences: Source sentences.
        translations: Their references.
        batch_size: Sentences at once.

    Returns:
        BLEU, and the first hypothesis as an example.

    Raises:
        ValueError: There is no sentence.
    """
    if not sentences:
        raise ValueError("no sentence to test the LLM's translation on; give a data directory with src_text and text")
    llm = LLM(LLMConfig(path=path)).eval()
    prompt = Prompt(PromptConfig(), "st", load_tokenizer(path))
    before, behind = prompt.render()
    end = prompt.tokenizer.eos_token_id
    hypotheses: list[str] = []
    for start in range(0, len(sentences), batch_size):
        part = sentences[start : start + batch_size]
        ids, lengths = pad_ids([before + prompt.encode(sentence) + behind for sentence in part])
        prefix = join_right_aligned([(llm.embed(ids), lengths)])
        found = search(llm, prefix, lengths * 2 + 10, end, "causal", SearchConfig(beam_size=1))
        hypotheses += [prompt.decode(nbest[0].tokens) for nbest in found]
    score = sacrebleu.corpus_bleu(hypotheses, [list(translations)]).score
    return float(score), f"{sentences[0]} -> {hypotheses[0]}"
