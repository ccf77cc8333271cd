"""The LLM that a recipe trains: what it reads and learns, and where an interrupted training resumes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
import torch
from transformers import LlamaForCausalLM

from speechllama.bin import train_text_llm as program
from speechllama.files import read_json
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.text_lines import Line, mix_lines, read_lines
from speechllama.llm.text_llm import (
    MAX_PLAIN_TOKENS,
    Lines,
    TextCorpus,
    TextLLMConfig,
    collate,
    last_whole_checkpoint,
    target_loss,
    train_text_llm,
)
from speechllama.text.prompt import Prompt, PromptConfig

PAIR, PLAIN = Line("Der Hund trinkt.", "The dog drinks."), Line("", "The man sleeps.")


def test_a_half_written_checkpoint_is_passed_over(tmp_path: Path) -> None:
    assert last_whole_checkpoint(tmp_path) is None
    for step in (200, 1000):
        (tmp_path / f"checkpoint-{step}").mkdir()
        (tmp_path / f"checkpoint-{step}/trainer_state.json").write_text("{}")
    (tmp_path / "checkpoint-1200").mkdir()  # killed before the state, which is written last
    (tmp_path / "checkpoint-1200/model.safetensors").write_bytes(b"")
    assert last_whole_checkpoint(tmp_path) == str(tmp_path / "checkpoint-1000")


def test_a_training_that_resumes_after_its_last_update_stays_as_it_is(tmp_path: Path) -> None:
    text = tmp_path / "llm_text.tsv"
    text.write_text("lang\tsentence\ttranslation\n" + "de\tDer Hund trinkt.\tThe dog drinks.\n" * 40)
    config = TextLLMConfig(vocab_size=80, width=16, num_layers=1, num_heads=2, ffn_dim=16, num_steps=3, batch_size=4)
    made = []
    for _ in range(2):
        folder = train_text_llm(config, TextCorpus(text, ()), tmp_path / "llm")
        made.append(((folder / "model.safetensors").read_bytes(), read_json(tmp_path / "llm/training.json")))
    assert (tmp_path / "llm/train/checkpoint-3").is_dir() and made[0][0] == made[1][0]
    assert [record["num_updates"] for _, record in made] == [3, 3]


def test_the_program_trains_and_tests_with_the_prompts_of_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "llm.yaml").write_text(
        "{vocab_size: 300, width: 16, num_layers: 1, num_heads: 2, ffn_dim: 16, num_steps: 2, batch_size: 4, "
        "copy_share: 0.5, cut_share: 0.0}"
    )
    (tmp_path / "train.yaml").write_text('prompt_conf: {template: "Quickly into {target}: {audio} ="}')
    text = "lang\tsentence\ttranslation\n" + "fr\tLe chien boit.\tDer Hund trinkt.\n" * 40
    (tmp_path / "llm_text.tsv").write_text(text)
    tables = {"src_text": "Le chat boit.", "text": "Die Katze trinkt.", "utt2lang": "fr", "utt2spk": "a"}
    (tmp_path / "dev").mkdir()
    for name, value in {**tables, "wav.scp": "a.wav", "utt2dur": "1.0"}.items():
        (tmp_path / "dev" / name).write_text(f"a {value}\n")
    learned: list[list[int]] = []
    read: list[list[int]] = []
    embed = LLM.embed

    def record_learned(lines: list[dict[str, list[int]]]) -> dict[str, torch.Tensor]:
        learned.extend(line["input_ids"] for line in lines)
        return collate(lines)

    def record_read(llm: LLM, tokens: torch.Tensor) -> torch.Tensor:
        read.append(tokens[0].tolist())
        return embed(llm, tokens)

    monkeypatch.setattr("speechllama.llm.text_llm.collate", record_learned)
    monkeypatch.setattr("speechllama.decode.text_bleu.LLM.embed", record_read)
    words = ["--config", "llm.yaml", "--text", "llm_text.tsv", "--dev_dir", "dev", "--output_dir", "llm"]
    monkeypatch.chdir(tmp_path)
    program.main([*words, "--prompt_config", "train.yaml", "--target_lang", "de"])
    tokenizer = load_tokenizer("llm/model")
    translated = "<s> Quickly into German: Le chien boit. = Der Hund trinkt.</s>"
    assert translated in {tokenizer.decode(line) for line in learned}
    assert tokenizer.decode(read[0]) == "<s> Quickly into German: Le chat boit. ="
    assert read_json(tmp_path / "llm/llm.json")["text_bleu_signature"].startswith("nrefs:1|")


@pytest.fixture(scope="module")
def prompts(tiny_llm: Path) -> dict[str, Prompt]:
    """Prompts with the tiny LLM's tokenizer."""
    tokenizer = load_tokenizer(str(tiny_llm))
    return {task: Prompt(PromptConfig(), task, tokenizer) for task in ("st", "asr")}


def test_of_a_pair_only_the_target_is_learned_and_of_plain_english_all(prompts: dict[str, Prompt]) -> None:
    prompt = prompts["st"]
    end, (before, after) = prompt.tokenizer.eos_token_id, prompt.render()
    lines = Lines([PAIR, PLAIN], prompts, TextLLMConfig(copy_share=0.0))
    pair, plain = lines[0], lines[1]
    target = [*prompt.encode(PAIR.translation), end]
    assert pair["input_ids"] == [*before, *prompt.encode(PAIR.sentence), *after, *target]
    assert [label for label in pair["labels"] if label >= 0] == target
    line = [*prompt.encode(PLAIN.translation), end]
    assert plain["input_ids"] == [prompt.tokenizer.bos_token_id, *line]
    assert plain["labels"] == [-100, *line]


def test_each_task_has_its_prompt_and_its_answer(tiny_llm: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_llm))
    config = TextLLMConfig(copy_share=0.3, both_share=0.3)
    prompts = {task: Prompt(PromptConfig(), task, tokenizer) for task in config.tasks}
    lines = Lines([PAIR] * 200, prompts, config)
    answers = {
        "st": PAIR.translation,
        "asr": PAIR.sentence,
        "cot": f"{PAIR.sentence} Translation: {PAIR.translation}",
    }
    for index, task in enumerate(lines.tasks):
        prompt, line = prompts[task], lines[index]
        before, after = prompt.render()
        target = [*prompt.encode(answers[task]), tokenizer.eos_token_id]
        assert line["input_ids"] == [*before, *prompt.encode(PAIR.sentence), *after, *target]
        assert [label for label in line["labels"] if label >= 0] == target
    counts = Counter(lines.tasks)
    assert 40 < counts["asr"] < 80 and 40 < counts["cot"] < 80 and 60 < counts["st"] < 100
    without = Lines([PAIR] * 200, prompts, TextLLMConfig(copy_share=0.3))
    copied = [task == "asr" for task in lines.tasks]
    assert copied == [task == "asr" for task in without.tasks], "without it, lines are what they were"


@pytest.mark.parametrize(("copied", "both"), [(-0.1, 0.0), (0.0, -0.1), (0.6, 0.5)])
def test_wrong_shares_of_tasks_are_refused(copied: float, both: float) -> None:
    with pytest.raises(ValueError, match=f"copy_share {copied} and both_share {both}: expected shares of the lines"):
        TextLLMConfig(copy_share=copied, both_share=both)


def test_a_long_line_of_plain_english_is_cut(prompts: dict[str, Prompt]) -> None:
    row = Lines([Line("", "The man sleeps. " * 200)], prompts, TextLLMConfig())[0]
    assert len(row["input_ids"]) == len(row["labels"]) == MAX_PLAIN_TOKENS + 1
    assert row["labels"][-1] != prompts["st"].tokenizer.eos_token_id  # it does not end there


@pytest.mark.parametrize(("num_given", "share", "num_pairs"), [(0, 0.5, 4), (7, 0.5, 8), (8, 0.5, 12), (8, 0.0, 4)])
def test_pairs_are_repeated_until_plain_english_has_its_share(num_given: int, share: float, num_pairs: int) -> None:
    given = [Line("", f"Line {number}.") for number in range(num_given)]
    mixed = mix_lines([PAIR] * 4 + given * 2 + [Line("", PAIR.translation)], share)
    assert mixed.count(PAIR) == num_pairs
    assert mixed[num_pairs:] == ([Line("", PAIR.translation), *given] if share else [])  # each line once
    assert len(mixed) - num_pairs <= share * len(mixed)


def test_shares_and_texts_that_make_no_training_are_refused() -> None:
    with pytest.raises(ValueError, match="plain_share 1.0 is not between 0 and below 1"):
        mix_lines([PAIR, PLAIN], 1.0)
    with pytest.raises(ValueError, match="2 lines of plain text and no pair"):
        mix_lines([PLAIN, PLAIN], 0.5)


def test_rows_without_a_sentence_are_plain_english(tmp_path: Path) -> None:
    path = tmp_path / "llm_text.tsv"
    path.write_text("lang\tsentence\ttranslation\nde\tDer Hund trinkt.\tThe dog drinks.\nen\t\tThe man sleeps.\n")
    assert read_lines(path) == [PAIR._replace(language="de"), PLAIN._replace(language="en")]


def test_the_loss_of_packed_targets_is_that_of_the_lines_one_by_one(tiny_llm: Path) -> None:
    llm = LlamaForCausalLM.from_pretrained(tiny_llm)
    lines = [
        {"input_ids": [1, 5, 6, 7, 8, 9, 2], "labels": [-100, -100, -100, -100, 8, 9, 2]},
        {"input_ids": [1, 9, 4, 2], "labels": [-100, -100, 4, 2]},
        {"input_ids": [1, 7, 2], "labels": [-100, 7, 2]},
        {"input_ids": [1, 5, 8, 8, 2], "labels": [-100, -100, -100, 8, 2]},
    ]
    batch = collate(lines)
    assert [tensor.shape for tensor in batch.values()] == [(2, 12)] * 3  # 7 + 5 tokens, 4 + 3
    losses, counts = [], []
    for line in lines:
        losses.append(llm(**{name: torch.tensor([ids]) for name, ids in line.items()}).loss)
        counts.append(sum(token != -100 for token in line["labels"]))
    expected = sum(loss * count for loss, count in zip(losses, counts, strict=True)) / sum(counts)
    torch.testing.assert_close(target_loss(llm, **batch), expected)
