"""Pairs of texts among the batches of a training: the LLM reads transcripts in place of speech."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import DataLoader

from speechllama.data.ark import read_matrix
from speechllama.data.sampling import BatchLimits
from speechllama.files import read_table, write_table
from speechllama.llm.files import load_tokenizer
from speechllama.llm.text_lines import Line
from speechllama.llm.text_llm import Lines, TextLLMConfig
from speechllama.model.audio import Compressed, Words
from speechllama.model.speech_llama import Batch
from speechllama.text.prompt import Prompt, PromptConfig, make_prompts
from speechllama.text.tasks import TASKS
from speechllama.train.preprocessor import SpeechLlamaPreprocessor
from speechllama.train.task_mixture import TaskMixture
from speechllama.train.text_pairs import (
    PREFIX,
    TextBatches,
    TextPairs,
    check_text_share,
    read_pairs,
    touch,
)

LORA = {"train": "lora", "lora": {"rank": 2}}
PAIRS = [Line(f"der hund {number}", f"The dog {number}.", "de") for number in range(30)]
ALL = slice(None)


@pytest.fixture
def make_pairs(tiny_llm: Path) -> Any:
    """Make pairs as the network reads them."""

    def make(task: str = "st", lines: list[Line] | None = None) -> TextPairs:
        prompts = make_prompts(PromptConfig(), task, load_tokenizer(str(tiny_llm)))
        preprocess = SpeechLlamaPreprocessor(prompts, TaskMixture(TASKS[task], {}, 1))
        return TextPairs(PAIRS if lines is None else lines, TASKS[task], preprocess)

    return make


def speech_loader(number: int) -> Any:
    """Batches of utterances, two in each."""
    batches = [[f"u{index}", f"v{index}"] for index in range(number)]
    dataset: Any = {name: name for batch in batches for name in batch}
    return DataLoader(dataset, batch_sampler=batches)


def mix(text: TextBatches, epoch: int, part: slice = ALL) -> list[list[str]]:
    """The batches of an epoch with 30 of speech."""
    loader: Any = text.mix(speech_loader(30), epoch, part)
    return list(loader.batch_sampler)


def to_batch(pairs: TextPairs, audio: Any = None) -> tuple[Batch, torch.Tensor, torch.Tensor]:
    """All pairs as one batch, with the ids of their texts; with speech in place of the sources where it is given."""
    entries = [pairs[f"{PREFIX}{number}"] for number in range(len(pairs.pairs))]

    def padded(name: str) -> tuple[torch.Tensor, torch.Tensor]:
        ids = [torch.tensor(entry[name]) for entry in entries]
        return pad_sequence(ids, batch_first=True, padding_value=-1), torch.tensor([len(each) for each in ids])

    return Batch(audio or Words(*padded("source")), *padded("prompt"), *padded("suffix")), *padded("text")


def test_a_pair_is_read_as_the_recipes_own_llm_learned_to_read_it(make_pairs: Any, tiny_llm: Path) -> None:
    tokenizer = load_tokenizer(str(tiny_llm))
    config = TextLLMConfig(copy_share=0.0, cut_share=0.0)
    prompts = {name: Prompt(PromptConfig(), name, tokenizer) for name in ("st", "asr")}
    expected = Lines(PAIRS, prompts, config)[3]["input_ids"]
    made = make_pairs()[f"{PREFIX}3"]
    found = [*made["prompt"], *made["source"], *made["suffix"], *made["text"], tokenizer.eos_token_id]
    assert found == expected
    assert make_pairs().count_positions(f"{PREFIX}3") == len(expected)


@pytest.mark.parametrize(("task", "text"), [("st", "The dog 3."), ("asr", "der hund 3"),
                                            ("cot", "der hund 3 Translation: The dog 3.")])  # fmt: skip
def test_the_llm_writes_of_a_transcript_what_the_task_writes_of_speech(make_pairs: Any, task: str, text: str) -> None:
    pairs = make_pairs(task)
    assert pairs[f"{PREFIX}3"]["text"].tolist() == pairs.preprocess.prompts[task].encode(text)


def test_the_share_of_the_batches_is_text_at_places_that_seed_and_epoch_decide(make_pairs: Any) -> None:
    text = TextBatches(make_pairs(), 0.25, BatchLimits(200), seed=3)
    mixed = [mix(text, epoch) for epoch in (1, 2)]
    again = mix(TextBatches(make_pairs(), 0.25, BatchLimits(200), seed=3), 1)
    assert again == mixed[0] != mixed[1]
    for batches in mixed:
        is_text = [batch[0].startswith(PREFIX) for batch in batches]
        assert (len(batches), sum(is_text)) == (40, 10)
        assert [batch for batch, own in zip(batches, is_text, strict=True) if not own] == list(
            speech_loader(30).batch_sampler
        )
        for batch, own in zip(batches, is_text, strict=True):
            longest = max(text.pairs.count_positions(name) for name in batch) if own else 0
            assert (len(batch) - 2) * longest <= 200  # the last of a batch may exceed it, as in ESPnet's
    used = [name for batches in mixed for batch in batches for name in batch if name.startswith(PREFIX)]
    assert len({*used[:30]}) == 30  # every pair before one comes again
    halves = [mix(text, 1, slice(rank, None, 2)) for rank in (0, 1)]
    for whole, first, second in zip(mixed[0], *halves, strict=True):
        assert not whole[0].startswith(PREFIX) or sorted(whole) == sorted([*first, *second])


def test_pairs_that_cannot_be_read_are_left_out(make_pairs: Any) -> None:
    lines = [
        *PAIRS[:2],
        Line("a Translation: b", "c", "de"),
        Line("der hund " * 99, "x", "de"),
    ]
    text = TextBatches(make_pairs("cot", lines), 0.5, BatchLimits(500), 1, context=60)
    assert text.sampler.utterances == [f"{PREFIX}0", f"{PREFIX}1"]
    with pytest.raises(ValueError, match="none of the 1 pairs of texts can be used"):
        TextBatches(make_pairs("st", lines[-1:]), 0.5, BatchLimits(500), 1, context=60)


def test_pairs_come_from_a_file_or_from_the_data(recipe: Any, tmp_path: Path) -> None:
    data, task = recipe.root / "train/dump", TASKS["st"]
    own = read_pairs(None, data, task, "x.yaml")
    assert len(own) == 12 and own[0].language == "de" and own[0].sentence.title() == own[0].translation
    table = tmp_path / "pairs.tsv"
    table.write_text("lang\tsentence\ttranslation\nfr\tle chien\tthe dog\nfr\t\tplain text\n")
    assert read_pairs(str(table), data, task, "x.yaml") == [Line("le chien", "the dog", "fr")]
    table.write_text("lang\tsentence\ttranslation\nfr\t\tplain text\n")
    with pytest.raises(ValueError, match="x.yaml: text_share: no pair of texts in .*pairs.tsv; name a TSV of pairs"):
        read_pairs(str(table), data, task, "x.yaml")
    with pytest.raises(ValueError, match=r"no pair of texts in .*none/src_text and text"):
        read_pairs(None, tmp_path / "none", task, "x.yaml")


def test_translations_in_the_place_of_transcripts_are_no_pairs(tmp_path: Path) -> None:
    for name, table in (("text", {"a": "Yes.", "b": "No."}), ("src_text", {"a": "Yes.", "b": "No."})):
        write_table(tmp_path / name, table)
    with pytest.raises(ValueError, match="text_share: no pair of texts in "):
        read_pairs(None, tmp_path, TASKS["st"], "x.yaml")
    assert len(read_pairs(None, tmp_path, TASKS["asr"], "x.yaml")) == 2  # a transcript is copied
    write_table(tmp_path / "src_text", {"a": "Ja.", "b": "No."})
    assert len(read_pairs(None, tmp_path, TASKS["st"], "x.yaml")) == 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"text_share": 0.2}, "text_share 0.2: text trains the LLM, and this one is frozen"),
        ({"text_share": 1.0, "llm_conf": LORA}, "expected a share of the batches, from 0 to below 1, found 1.0"),
        ({"text_share": "some", "llm_conf": LORA}, "expected a share of the batches.*found 'some'"),
        ({"text_pairs": "a.tsv", "llm_conf": LORA}, "text_pairs a.tsv would not be read: text_share is 0"),
        ({"text_share": 0.2, "text_pairs": "no.tsv", "llm_conf": LORA}, "text_pairs no.tsv: no such file"),
    ],
)
def test_wrong_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"x.yaml: .*{message}"):
        check_text_share(settings, "x.yaml")


def test_the_loss_of_text_is_the_llms_own_and_speech_is_not_touched(recipe: Any) -> None:
    from speechllama.decode.experiment import load_experiment
    from speechllama.llm.prefix_mask import join_right_aligned
    from speechllama.model.text_logits import read_text

    network = load_experiment(recipe.root / "e6").network
    ids = {name: torch.tensor([[5, 6, 7], [8, 9, -1]]) for name in ("prompt", "source", "suffix", "text")}
    lengths = torch.tensor([3, 2])
    batch = Batch(Words(ids["source"], lengths), ids["prompt"], lengths, ids["suffix"], lengths)
    found = network(batch, ids["text"], lengths)
    joined = torch.tensor([[5, 6, 7] * 3, [8, 9] * 3 + [-1] * 3])
    prefix = join_right_aligned([(network.llm.embed(joined), lengths * 3)])
    logits, labels = read_text(network.llm, prefix, ids["text"], lengths, "causal")
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=-1)
    assert torch.allclose(found.loss, expected, atol=1e-5) and network.config.prefix_mask == "non_causal"
    found.loss.backward()
    assert all(parameter.grad is None for parameter in network.audio_encoder.parameters())
    assert any(parameter.grad is not None for parameter in network.llm.parameters())
    zero: Any = touch([*network.audio_encoder.parameters()])
    zero.backward()
    gradients: list[Any] = [parameter.grad for parameter in network.audio_encoder.parameters()]
    assert zero == 0 and not any(gradient.any() for gradient in gradients)


def test_an_llm_that_trains_on_speech_forgets_to_translate_text_and_keeps_it_with_pairs(
    recipe: Any, make_pairs: Any
) -> None:
    from speechllama.decode.experiment import load_experiment

    data = recipe.root / "train/compressed"
    spoken = make_pairs(lines=read_pairs(None, data, TASKS["st"], "x.yaml"))  # the same prompts and texts, for speech
    vectors = Compressed.pad([read_matrix(place) for place in read_table(data / "compressed.scp").values()])
    learned, held_out = to_batch(make_pairs(lines=PAIRS[:20])), to_batch(make_pairs(lines=PAIRS[20:]))
    speech = to_batch(spoken, vectors)

    def train(network: Any, *steps: tuple[Any, ...]) -> float:
        """Take these steps with LoRA; give the loss of the pairs that are held out."""
        optimizer = torch.optim.AdamW(network.llm.parameters(), lr=0.01)
        for batch, text, lengths in steps:
            optimizer.zero_grad()
            network(batch, text, lengths).loss.backward()
            optimizer.step()
        with torch.no_grad():
            return float(network(*held_out).loss)

    network = load_experiment(recipe.root / "e6").network
    able = train(network, *[learned] * 60)  # 2.9 nats a token
    alone = train(copy.deepcopy(network), *[speech, speech] * 30)  # 4.2
    mixed = train(copy.deepcopy(network), *[speech, learned] * 30)  # 2.9
    assert mixed < able + 0.3 and alone > able + 0.6


@pytest.mark.parametrize(
    ("llm_conf", "init"), [pytest.param(LORA, "e5", id="lora"), pytest.param({"train": "full"}, "", id="full")]
)
def test_training_with_text_resumes_exactly_and_reports_its_loss_apart(
    recipe: Any, llm_conf: dict[str, Any], init: str
) -> None:
    settings: dict[str, Any] = {"llm_conf": llm_conf, "prefix_mask": "non_causal", "text_share": 0.4, "batch_bins": 200}
    start = ("--init_from", str(recipe.root / init)) if init else ()
    names = [f"{llm_conf['train']}_{name}" for name in ("text_whole", "text_broken", "no_text")]
    recipe.train_llm(names[0], *start, max_epoch=3, **settings)
    recipe.train_llm(names[1], *start, "--num_workers", "2", max_epoch=1, **settings)
    recipe.train_llm(names[1], *start, max_epoch=3, **settings)
    recipe.train_llm(names[2], *start, max_epoch=3, **{**settings, "text_share": 0.0})
    whole, broken, without = (recipe.load(recipe.root / name / "3epoch.pth") for name in names)
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert not all(torch.equal(whole[name], without[name]) for name in whole)
    stats = torch.load(recipe.root / names[0] / "checkpoint.pth", weights_only=False)["reporter"]["stats"][3]
    for phase in ("train", "valid"):
        assert {"loss", "loss_text", "acc", "acc_text"} <= stats[phase].keys()
        assert np.isfinite(stats[phase]["loss_text"]) and stats[phase]["loss"] != stats[phase]["loss_text"]
    others = torch.load(recipe.root / names[2] / "checkpoint.pth", weights_only=False)["reporter"]["stats"][3]
    assert "loss_text" not in others["train"]
    recorded = yaml.safe_load((recipe.root / names[0] / "config.yaml").read_text())
    assert (recorded["text_share"], recorded["text_pairs"]) == (0.4, None)


def test_a_training_with_text_that_was_stopped_inside_an_epoch_resumes_there(recipe: Any, monkeypatch: Any) -> None:
    from speechllama.train.stop import CONTINUE, STOP, StopRequest

    settings: dict[str, Any] = {"llm_conf": LORA, "text_share": 0.4, "batch_bins": 200, "task": "joint"}
    recipe.train_llm("inside_whole", max_epoch=2, **settings)
    calls = iter([CONTINUE, CONTINUE, STOP])
    with monkeypatch.context() as patched, pytest.raises(SystemExit):
        patched.setattr(StopRequest, "poll", lambda self, is_first: next(calls))
        recipe.train_llm("inside_broken", max_epoch=2, **settings)
    assert (recipe.root / "inside_broken/interrupted.pth").is_file()
    recipe.train_llm("inside_broken", max_epoch=2, **settings)
    whole, broken = (recipe.load(recipe.root / name / "2epoch.pth") for name in ("inside_whole", "inside_broken"))
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
