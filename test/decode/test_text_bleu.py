"""Text translation of the LLM: its score, and the warning that speech will not do better."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from speechllama.decode.text_bleu import TextBleu, report_text_bleu, text_bleu
from speechllama.text.targets import TARGETS, Target


@pytest.mark.parametrize("minimum", [75.0, 12.0])
def test_an_llm_that_does_not_translate_text_is_warned_of(
    minimum: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        entries = report_text_bleu(TextBleu(12.34, "nrefs:1", 90, "Hund -> dog"), minimum, tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "90 dev sentences: BLEU 12.3 (nrefs:1)" in page and "Hund -> dog" in page
    is_low = minimum == 75
    assert ("warning" in entries, "WARNING: text BLEU 12.3 is below 75" in page) == (is_low, is_low)
    assert ("min_text_bleu of llm.yaml" in caplog.text) == is_low
    assert entries["text_bleu"] == 12.34


def test_an_untrained_llm_is_scored_with_a_signature(tiny_llm: Path) -> None:
    found = text_bleu(str(tiny_llm), ["Der Hund schläft."] * 3, ["The dog sleeps."] * 3, batch_size=2)
    assert found.bleu < 20 and found.num_sentences == 3
    assert found.signature.startswith("nrefs:1|case:mixed") and found.example.startswith("Der Hund schläft. -> ")


def test_another_target_language_is_cut_into_words_by_its_tokenizer(add: Callable[..., Target], tiny_llm: Path) -> None:
    add(TARGETS, Target("zh", "Chinese", ("CJK",), "zh"))
    found = text_bleu(str(tiny_llm), ["Der Hund schläft."], ["狗在睡觉。"], target="zh")
    assert "tok:zh" in found.signature
