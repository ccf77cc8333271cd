"""Text translation of the LLM: its score, and the warning that speech will not do better."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from torch import Tensor

from speechllama.decode.text_bleu import TextBleu, TextPairs, report_text_bleu, text_bleu
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.text.prompt import Prompt, PromptConfig


@pytest.mark.parametrize("minimum", [75.0, 12.0])
def test_an_llm_that_does_not_translate_text_is_warned_of(
    minimum: float, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        entries = report_text_bleu([TextBleu(12.34, "nrefs:1", 90, "Hund -> dog")], minimum, tmp_path)
    page = (tmp_path / "report.md").read_text()
    assert "90 dev sentences: BLEU 12.3 (nrefs:1)" in page and "Hund -> dog" in page
    is_low = minimum == 75
    assert ("warning" in entries, "WARNING: text BLEU 12.3 is below 75" in page) == (is_low, is_low)
    assert ("min_text_bleu of llm.yaml" in caplog.text) == is_low
    assert entries["text_bleu"] == 12.34


def test_an_untrained_llm_is_scored_with_a_signature(tiny_llm: Path) -> None:
    pairs = TextPairs(["Der Hund schläft."] * 3, ["The dog sleeps."] * 3)
    [found] = text_bleu(str(tiny_llm), pairs, batch_size=2)
    assert found.bleu < 20 and found.num_sentences == 3
    assert found.signature.startswith("nrefs:1|case:mixed") and found.example.startswith("Der Hund schläft. -> ")


def test_another_target_language_is_cut_into_words_by_its_tokenizer(tiny_llm: Path) -> None:
    [found] = text_bleu(str(tiny_llm), TextPairs(["Der Hund schläft."], ["狗在睡觉。"]), PromptConfig(target="zh"))
    assert "tok:zh" in found.signature and found.target == "zh"


def test_several_target_languages_have_a_score_each_and_no_mean(tiny_llm: Path, tmp_path: Path) -> None:
    sentences, translations = ["Der Hund schläft."] * 3, ["狗在睡觉。", "Le chien dort.", "Le chien dort."]
    pairs = TextPairs(sentences, translations, ["de"] * 3, ["zh", "fr", "fr"])
    found = text_bleu(str(tiny_llm), pairs, PromptConfig("From {language} into {target}: {audio}"), batch_size=2)
    assert [(each.target, each.num_sentences) for each in found] == [("zh", 1), ("fr", 2)]
    entries = report_text_bleu(found, 101, tmp_path)
    assert set(entries["text_bleu"]) == {"zh", "fr"} and "tok:zh" in entries["text_bleu_signature"]["zh"]
    assert "into zh" in entries["warning"] and "into fr" in (tmp_path / "report.md").read_text()


def test_the_llm_reads_the_templates_of_the_system(tiny_llm: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered, read = [], []
    render, embed = Prompt.render, LLM.embed

    def record_rendered(prompt: Prompt, *words: str, **options: str) -> object:
        rendered.append(render(prompt, *words, **options))
        return rendered[-1]

    def record_read(llm: LLM, tokens: Tensor) -> Tensor:
        read.extend(tokens.tolist())
        return embed(llm, tokens)

    monkeypatch.setattr(Prompt, "render", record_rendered)
    monkeypatch.setattr(LLM, "embed", record_read)
    names = {"de": "deutsch", "fr": "french", "zh": "chinese"}  # in letters that the tiny tokenizer knows
    templates = "the {language} to {target}: {audio} so:", {"es": "{audio} {target}:"}
    config = PromptConfig(*templates, language_names=names)
    sentence = "Der Hund trinkt."
    text_bleu(str(tiny_llm), TextPairs([sentence] * 3, ["-"] * 3, ["de", "fr", "es"], ["zh", "de", "de"]), config)
    tokenizer = load_tokenizer(str(tiny_llm))
    prompts = [[*map(tokenizer.decode, ids)] for ids in rendered]
    assert prompts == [
        ["<s> the deutsch to chinese:", "so:"],
        ["<s> the french to deutsch:", "so:"],
        ["<s>", "deutsch:"],
    ]
    encoded = Prompt(config, "st", tokenizer).encode(sentence)
    for ids, row in zip(rendered, read[:3], strict=True):
        expected = [*ids.prompt, *encoded, *ids.suffix]
        assert row[: len(expected)] == expected
