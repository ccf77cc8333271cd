"""The table of how likely an LLM finds texts: against a plain loop over tokens."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from speechllama.llm.files import load_tokenizer
from speechllama.text.prompt import Prompt, PromptConfig
from tools import measure_prompt

PAIRS = [("dog", "hund"), ("the man", "der mann"), ("bread", "brot")]


def test_a_texts_nats_are_those_of_its_tokens_one_by_one(tiny_llm: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_llm))
    llm = AutoModelForCausalLM.from_pretrained(tiny_llm).eval()
    prompt = Prompt(PromptConfig(), "st", tokenizer)
    nats, number = 0.0, 0
    for text, source in PAIRS:
        before, after = prompt.render()
        ids = [*before, *prompt.encode(source), *after]
        for token in [*prompt.encode(text), tokenizer.eos_token_id]:
            with torch.no_grad():
                nats -= llm(torch.tensor([ids])).logits[0, -1].log_softmax(-1)[token].item()
            ids.append(token)
            number += 1
    found = measure_prompt.measure(llm, prompt, PAIRS, "")
    assert found == (pytest.approx(nats / number, rel=1e-4), pytest.approx(nats / len(PAIRS), rel=1e-4))


def test_the_table_has_a_row_for_every_form(tiny_llm: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pairs = tmp_path / "pairs.tsv.gz"
    with gzip.open(pairs, "wt", encoding="utf-8") as stream:
        stream.writelines(f"{text}\t{source}\tCC-BY\n" for text, source in PAIRS)
    measure_prompt.main(["--llm", str(tiny_llm), "--pairs", str(pairs), "--num_pairs", "2"])
    rows = [line.split(" | ")[:2] for line in capsys.readouterr().out.splitlines()[-4:]]
    assert rows == [["| tokenizer", "no"], ["| tokenizer", "yes"], ["| bos", "no"], ["| bos", "yes"]]
