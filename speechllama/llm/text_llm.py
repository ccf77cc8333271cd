"""The LLM that a recipe trains itself: a LLaMA that learns to translate and to copy text.

    llm_text.tsv (lang, sentence, translation[, target]) -> Hugging Face directory that translates text

A frozen LLM uses audio only if its own training taught it to use what comes before the text (one trained on English
only ignored the audio); LLaMA-7B has that ability, a small one must be given it. The lines have the form of the
recipe's prompts, with the source sentence where the audio will be. A row without a sentence is plain text, learned
as it is.
"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from speechllama.faults import InputError
from speechllama.files import writing
from speechllama.llm.files import MODEL_DIR
from speechllama.llm.loading import choose_dtype
from speechllama.llm.scratch_llm import LlamaConfig, build_llama, train_llama_tokenizer
from speechllama.llm.subword_cuts import SubwordCutter
from speechllama.llm.text_lines import BOTH, COPY, TRANSLATE, Line, TextCorpus, mix_lines, read_lines
from speechllama.peak_memory import PeakMemory
from speechllama.text.padding import PADDING, pad_ids
from speechllama.text.prompt import Prompt, PromptConfig, PromptText
from speechllama.text.tasks import TABLES, TASKS
from speechllama.training_record import describe_machine, record_peak, update_training_record

SECONDS = "training_seconds"  # in the log of transformers' trainer

MAX_PLAIN_TOKENS = 256  # of a line of plain text; what comes after them is not read
NUM_CHECKPOINTS = 20  # written in a training, unless they would be less than SAVE_STEPS apart
SAVE_STEPS = 200


@dataclass(frozen=True)
class TextLLMConfig(LlamaConfig):
    """Sizes and training of the LLM.

    Attributes:
        num_steps: Updates.
        batch_size: Lines a batch.
        learning_rate: Peak of AdamW's rate; linear warm-up over a twentieth, cosine decay to 0.
        copy_share: Share of the lines that ask for the sentence itself (the recognition task), 0 to 1.
        both_share: Share of the lines that ask for the sentence and then its translation (the task `cot`), 0 to 1; with
            `copy_share` at most 1.
        cut_share: Share of the source words that are read in other pieces than the tokenizer's, 0 to 1.
        plain_share: Most that plain text may be of the lines, 0 to below 1: the pairs' translations and the rows
            without a source sentence; where there is more of it, pairs are read more often. 0 reads none. Without
            any the LLM is no language model, which rescoring (B2) needs.
        seed: Of weights and batches.
        min_text_bleu: The least BLEU at translating written dev sentences; below it a warning says so. With an LLM of
            70.1 the mini recipe's E6 reached 59.7 BLEU, with one of 78.9 it reached 66.0 (its LOG.md).
    """

    vocab_size: int = 1000
    width: int = 160
    num_layers: int = 4
    num_heads: int = 4
    ffn_dim: int = 432
    tie_embeddings: bool = True
    num_steps: int = 700
    batch_size: int = 48
    learning_rate: float = 3.0e-3
    copy_share: float = 0.15
    both_share: float = 0.0
    cut_share: float = 0.0
    plain_share: float = 0.0
    seed: int = 1
    min_text_bleu: float = 75.0

    def __post_init__(self) -> None:
        if min(self.copy_share, self.both_share) < 0 or self.copy_share + self.both_share > 1:
            raise InputError(
                f"copy_share {self.copy_share} and both_share {self.both_share}: expected shares of the lines, "
                "together at most 1"
            )

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that it teaches."""
        return (TRANSLATE, COPY, *([BOTH] if self.both_share else []))


@dataclass
class Lines(torch.utils.data.Dataset):
    """Lines as the LLM reads them: ids of prompt, source, suffix, target, end; only target and end are learned.

    Of plain text everything after the start token is learned.
    """

    lines: Sequence[Line]
    prompts: dict[str, Prompt]
    config: TextLLMConfig
    tasks: list[str] = field(init=False)
    cutter: SubwordCutter = field(init=False)

    def __post_init__(self) -> None:
        draw = random.Random(self.config.seed)
        self.tasks = [self._choose(draw.random()) for _ in self.lines]
        self.cutter = SubwordCutter(self.prompts[TRANSLATE].tokenizer, self.config.cut_share)

    def _choose(self, place: float) -> str:
        """Give the task of a place between 0 and 1."""
        if place < self.config.copy_share:
            return COPY
        return BOTH if place < self.config.copy_share + self.config.both_share else TRANSLATE

    def __len__(self) -> int:
        return len(self.lines)

    def __getitem__(self, index: int) -> dict[str, list[int]]:
        line, task = self.lines[index], self.tasks[index]
        prompt = self.prompts[task]
        if not line.sentence:
            start, ids = prompt.start_tokens, prompt.encode(line.translation)
            ids = [*ids, prompt.tokenizer.eos_token_id][:MAX_PLAIN_TOKENS]
            return {"input_ids": start + ids, "labels": [-100] * len(start) + ids}
        before, after = prompt.render(line.language, target=line.target)
        source = self.cutter.encode(line.sentence, random.Random(f"{self.config.seed} {index}"))
        texts = {TABLES["transcript"]: line.sentence, TABLES["translation"]: line.translation}
        target = prompt.encode(TASKS[task].join(texts))
        target.append(prompt.tokenizer.eos_token_id)
        given = before + source + after
        return {"input_ids": given + target, "labels": [-100] * len(given) + target}  # -100: no loss


def collate(lines: Sequence[dict[str, list[int]]]) -> dict[str, Tensor]:
    """Pack lines one after another into rows twice as long as the longest line.

    Of a row for each line a third would be padding, since the lines of a batch differ in length. Positions start anew
    with each line, by which transformers tells that a line does not see the one before it.

    Args:
        lines: `input_ids` and `labels` of each.

    Returns:
        `input_ids` and `position_ids` (B, N), and `labels` (B, N), -100 where there is nothing to learn.
    """
    width = 2 * max(len(line["input_ids"]) for line in lines)
    rows: list[list[dict[str, list[int]]]] = []
    room: list[int] = []
    for line in sorted(lines, key=lambda line: -len(line["input_ids"])):
        length = len(line["input_ids"])
        row = next((row for row, left in enumerate(room) if left >= length), len(rows))
        if row == len(rows):
            rows.append([])
            room.append(width)
        rows[row].append(line)
        room[row] -= length

    def join(name: str) -> Tensor:
        return pad_ids([[token for line in row for token in line[name]] for row in rows])[0]

    ids, labels = join("input_ids"), join("labels")
    positions, _ = pad_ids([[place for line in row for place in range(len(line["input_ids"]))] for row in rows])
    return {
        "input_ids": ids.clamp(min=0),
        "position_ids": positions.clamp(min=0),
        "labels": labels.masked_fill(ids == PADDING, -100),
    }


def target_loss(llm: Any, input_ids: Tensor, position_ids: Tensor, labels: Tensor) -> Tensor:
    """Mean cross-entropy of the targets; the LLM's head runs on their positions only, a sixth of all.

    Args:
        llm: A causal LM of transformers.
        input_ids: Token ids (B, N), several lines a row, padded on the right with any id.
        position_ids: Positions (B, N), from 0 in every line.
        labels: The same ids where the LLM should learn them, else -100 (B, N); a line's first is not learned.
    """
    states = llm.model(input_ids=input_ids, position_ids=position_ids, use_cache=False).last_hidden_state
    expected = labels[:, 1:]  # column n predicts n + 1
    learned = expected != -100
    return torch.nn.functional.cross_entropy(llm.lm_head(states[:, :-1][learned]), expected[learned])


def train_text_llm(
    config: TextLLMConfig,
    corpus: TextCorpus,
    llm_dir: str | Path,
    on_gpu: bool = False,
) -> Path:
    """Train tokenizer and LLM and save them as an ordinary Hugging Face directory.

    An interrupted training resumes from its last checkpoint.

    Args:
        config: Sizes and training.
        corpus: What it learns from.
        llm_dir: Where `model` goes.
        on_gpu: Train on the first GPU.

    Returns:
        The Hugging Face directory.

    Raises:
        ValueError: The text is empty or holds a test sentence.
    """
    from transformers import Trainer, TrainerCallback, TrainingArguments

    class Clock(TrainerCallback):
        """Keeps the seconds in the trainer's state, which its checkpoints hold: what a kill undoes is not counted."""

        def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            self.before = max((entry.get(SECONDS, 0.0) for entry in state.log_history), default=0.0)
            self.start = time.perf_counter()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if control.should_save or state.global_step >= state.max_steps:
                seconds = self.before + time.perf_counter() - self.start
                state.log_history.append({"step": state.global_step, SECONDS: seconds})

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            record_peak(Path(llm_dir), memory)

    class TargetTrainer(Trainer):
        def compute_loss(self, model: Any, inputs: dict[str, Tensor], *_: Any, **__: Any) -> Tensor:
            with torch.autocast(model.device.type, torch.bfloat16, enabled=has_bf16):
                return target_loss(model, **inputs)

    has_bf16 = choose_dtype("auto", "cuda" if on_gpu else "cpu") is torch.bfloat16
    text = corpus.text
    lines = read_lines(text)
    mixed = mix_lines(lines, config.plain_share)
    seen = {line.sentence for line in lines}
    leaked = [sentence for sentence in corpus.held_out if sentence in seen]
    if leaked:
        raise InputError(f"{text}: {len(leaked)} test sentences are among the LLM's text, first: {leaked[:3]}")
    folder, work = Path(llm_dir) / MODEL_DIR, Path(llm_dir) / "train"
    configs = {task: corpus.prompt_config(task) for task in config.tasks}
    tokenizer = train_llm_tokenizer(lines, config.vocab_size, configs)
    prompts = {task: Prompt(prompt_config, task, tokenizer) for task, prompt_config in configs.items()}
    work.mkdir(parents=True, exist_ok=True)
    arguments = TrainingArguments(
        output_dir=str(work),
        max_steps=config.num_steps,
        per_device_train_batch_size=config.batch_size,
        learning_rate=config.learning_rate,
        weight_decay=0.01,
        warmup_steps=max(1, config.num_steps // 20),
        lr_scheduler_type="cosine",
        logging_steps=50,
        save_steps=max(SAVE_STEPS, config.num_steps // NUM_CHECKPOINTS),
        save_total_limit=2,
        seed=config.seed,
        report_to=[],
        disable_tqdm=True,
        use_cpu=not on_gpu,
        dataloader_num_workers=0,
    )
    arguments._n_gpu = min(arguments.n_gpu, 1)  # or it would spread so small an LLM over all GPUs
    data = Lines(mixed, prompts, config)
    torch.manual_seed(config.seed)
    llm = build_llama(config, tokenizer)
    memory = PeakMemory("cuda" if on_gpu else "cpu")
    trainer = TargetTrainer(model=llm, args=arguments, train_dataset=data, data_collator=collate, callbacks=[Clock()])
    with writing(work):
        trainer.train(resume_from_checkpoint=last_whole_checkpoint(work))
    seconds = max((entry.get(SECONDS, 0.0) for entry in trainer.state.log_history), default=0.0)
    # Resumed after its last update, the trainer makes one more, at a learning rate of 0: it changes nothing.
    num_updates = min(trainer.state.global_step, config.num_steps)
    facts = {"seconds": round(seconds, 3), "num_updates": num_updates, **describe_machine(memory)}
    record_peak(Path(llm_dir), memory)
    update_training_record(llm_dir, **facts)
    with writing(folder):
        llm.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    return folder


def last_whole_checkpoint(work: Path) -> str | None:
    """The newest checkpoint of transformers' trainer; one that a kill left half written has no state yet."""
    whole = [state.parent for state in work.glob("checkpoint-*/trainer_state.json") if state.stat().st_size]
    newest = max(whole, key=lambda path: int(path.name.rpartition("-")[2]), default=None)
    return None if newest is None else str(newest)


def train_llm_tokenizer(
    lines: Sequence[Line], vocab_size: int, configs: Mapping[str, PromptConfig] | None = None
) -> Any:
    """A byte-pair tokenizer of LLaMA's kind ("▁" for spaces) over both sides and the prompts of the tasks."""
    pairs = sorted({(line.language, line.target) for line in lines if line.sentence}) or [("", "")]
    templates: list[str] = []
    for task in configs or (TRANSLATE, COPY):
        text = PromptText((configs or {}).get(task, PromptConfig()), task)
        filled = (" ".join(text.fill(text.choose(pair[0]), *pair)) for pair in pairs)
        separator = f" {TASKS[task].separator}" if TASKS[task].separator else ""
        templates += dict.fromkeys(f"{prompt}{separator}" for prompt in filled)
    prompts = templates * (len(lines) // 10 + 1)

    def texts() -> Iterator[str]:
        for line in lines:
            yield from line[:2]
        yield from prompts

    return train_llama_tokenizer(texts(), vocab_size)
