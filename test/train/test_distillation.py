"""Token-level distillation: the LLM reads the transcript, and the system learns its choices."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from speechllama.data.data_dir import DataDir
from speechllama.data.llm_shapes import PositionCounter, count_positions
from speechllama.llm.config import LLMConfig
from speechllama.llm.files import load_tokenizer
from speechllama.lora import LoRAConfig
from speechllama.model.audio import Words
from speechllama.model.speech_llama import SpeechLlama
from speechllama.text.prompt import PromptConfig, make_prompts
from speechllama.text.tasks import TASKS
from speechllama.train.distillation import (
    DistillConfig,
    distilled_loss,
    divergence,
    read_distillation,
    read_transcript,
)
from speechllama.train.preprocessor import SpeechLlamaPreprocessor
from speechllama.train.task_mixture import TaskMixture
from test.model.conftest import build, make_batch
from test.model.test_speech_llama import EOS, take

LORA = {"train": "lora", "lora": {"rank": 2}}
DISTILL = {"weight": 0.5, "temperature": 2.0}
CONFIG = DistillConfig(**DISTILL)
WORDS = Words(torch.tensor([[50, 51, 52, 53], [54, 55, -1, -1], [56, -1, -1, -1]]), torch.tensor([4, 2, 1]))


def build_lora(tiny_llm: Path, **lora: Any) -> SpeechLlama:
    """A network whose adapters change what the LLM says."""
    network = build(tiny_llm, llm=LLMConfig(str(tiny_llm), train="lora", lora=LoRAConfig(rank=2, **lora)))
    torch.manual_seed(3)
    for name, parameter in network.llm.named_parameters():
        if "lora_B" in name:
            parameter.data.normal_(std=0.5)
    return network


def words_of(row: int) -> Words:
    """The transcript of one utterance, without padding."""
    one = slice(row, row + 1)
    return Words(WORDS.tokens[one, : WORDS.lengths[row]], WORDS.lengths[one])


@torch.no_grad()
def test_the_loss_of_a_batch_is_that_of_a_loop_over_utterances_and_tokens(tiny_llm: Path) -> None:
    from transformers import AutoModelForCausalLM

    network, original = build_lora(tiny_llm), AutoModelForCausalLM.from_pretrained(tiny_llm)
    batch, text, lengths = make_batch()
    found = distilled_loss(network, batch, WORDS, (text, lengths), CONFIG)
    ce, kl, count = 0.0, 0.0, 0
    for row in range(3):
        single, own_text, own_lengths = take(batch, text, lengths, row)
        student = network.read(single, own_text, own_lengths).logits[0]
        written = own_text[0].tolist()
        before = [*single.prompt[0].tolist(), *words_of(row).tokens[0].tolist(), *single.suffix[0].tolist()]
        teacher = original(torch.tensor([before + written])).logits[0, len(before) - 1 :]
        for label, own, taught in zip([*written, EOS], student, teacher, strict=True):
            ce -= own.log_softmax(-1)[label].item()
            p, q = (taught / 2).softmax(-1), (own / 2).softmax(-1)
            kl += (p * (p / q).log()).sum().item()
            count += 1
    assert found.num_tokens.item() == count == 9
    assert found.cross_entropy.item() == pytest.approx(ce / count, rel=1e-4)
    assert found.divergence.item() == pytest.approx(kl / count, rel=1e-3) and kl / count > 0.01
    assert found.loss.item() == pytest.approx(0.5 * ce / count + 0.5 * 4 * kl / count, rel=1e-3)


def test_the_divergence_is_torchs_own_and_does_not_read_padding() -> None:
    student, teacher = torch.randn(2, 3, 7), torch.randn(2, 3, 7)
    labels = torch.tensor([[1, 2, 3], [4, -1, -1]])
    p, q = (torch.distributions.Categorical(logits=logits / 1.5) for logits in (teacher, student))
    expected = torch.distributions.kl_divergence(p, q)[labels >= 0].mean()
    assert divergence(student, teacher, labels, 1.5).item() == pytest.approx(expected.item(), rel=1e-5)
    student[1, 1:], teacher[1, 1:] = torch.inf, torch.nan
    assert divergence(student, teacher, labels, 1.5).item() == pytest.approx(expected.item(), rel=1e-5)
    assert divergence(teacher[:1], teacher[:1], labels[:1], 1.5).item() == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("lora", [{"dropout": 0.5}, {"use_dora": True}])
def test_the_teacher_has_no_adapters_and_leaves_the_student_as_it_was(tiny_llm: Path, lora: dict[str, Any]) -> None:
    network, frozen = build_lora(tiny_llm, **lora).train(), build(tiny_llm)
    first = next(parameter for name, parameter in network.llm.named_parameters() if "lora_A" in name)
    first.requires_grad_(False)  # as --freeze_param does
    trains = {name: parameter.requires_grad for name, parameter in network.named_parameters()}
    state = torch.random.get_rng_state()
    batch, text, lengths = make_batch()
    taught = read_transcript(network, batch, WORDS, text, lengths)
    assert not taught.requires_grad and torch.equal(state, torch.random.get_rng_state())
    torch.testing.assert_close(taught, frozen.read(batch._replace(audio=WORDS), text, lengths).logits)
    assert {name: parameter.requires_grad for name, parameter in network.named_parameters()} == trains
    network.eval()
    with torch.no_grad():
        adapted = network.read(batch._replace(audio=WORDS), text, lengths).logits
    assert not torch.allclose(adapted, taught, atol=1e-2)
    distilled_loss(network.train(), batch, WORDS, (text, lengths), CONFIG).loss.backward()
    own = dict(network.named_parameters())
    assert all((own[name].grad is not None) == does for name, does in trains.items())


def test_the_gradient_is_that_of_both_parts(tiny_llm: Path) -> None:
    network = build(tiny_llm)
    batch, text, lengths = make_batch()

    def gradient(config: DistillConfig) -> torch.Tensor:
        network.zero_grad()
        distilled_loss(network, batch, WORDS, (text, lengths), config).loss.backward()
        return torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])

    both, ce, kl = (gradient(DistillConfig(weight, 2.0)) for weight in (0.25, 0.0, 1.0))
    torch.testing.assert_close(both, 0.75 * ce + 0.25 * kl, rtol=1e-3, atol=1e-6)
    assert kl.abs().max() > 1e-5
    network.zero_grad()
    network(batch, text, lengths).loss.backward()
    plain = torch.cat([weight.grad.flatten() for weight in network.parameters() if weight.grad is not None])
    torch.testing.assert_close(plain, ce)


@pytest.mark.parametrize(
    ("settings", "task", "message"),
    [
        ({}, "asr", "the task asr writes the transcript, and the teacher, who reads it, would only copy it"),
        ({}, "cot", "the task cot writes the transcript"),
        ({}, "joint", "the task joint writes the transcript"),
        ({"llm_conf": {"train": "full", "random_weights": True}}, "st", "the LLM has random weights, so it knows"),
        ({"llm_conf": {"train": "full"}}, "st", "the LLM trains with all its weights, so it is no fixed teacher"),
        ({"llm_conf": {"train": "lora", "lora": {"init_lora_weights": "olora"}}}, "st", "gives a part of its weights"),
        ({"distill_conf": {"weight": 1.5}}, "st", "weight: expected a share of the loss, from 0 to 1, found 1.5"),
        ({"distill_conf": {"weight": 1, "temperature": 0}}, "st", "temperature: expected a number above 0, found 0"),
        ({"distill_conf": {"wieght": 0.5}}, "st", "unknown key 'wieght'; did you mean 'weight'"),
    ],
)
def test_what_cannot_teach_is_refused(settings: dict[str, Any], task: str, message: str) -> None:
    with pytest.raises(ValueError, match=f"x.yaml: distill_conf: .*{message}"):
        read_distillation({"distill_conf": DISTILL, **settings}, TASKS[task], "x.yaml")


def test_labels_and_a_weight_of_0_are_no_fault() -> None:
    assert read_distillation({"distill_conf": DISTILL, "llm_conf": LORA}, TASKS["lid"], "x.yaml") == CONFIG
    assert not read_distillation({"distill_conf": {"weight": 0}}, TASKS["asr"], "x.yaml").weight
    assert not read_distillation({"llm_conf": {"train": "full"}}, TASKS["st"], "x.yaml").weight


def test_an_utterance_brings_its_transcript_where_a_teacher_reads_it(tiny_llm: Path) -> None:
    prompts = make_prompts(PromptConfig(), "st", load_tokenizer(str(tiny_llm)))
    mixture = TaskMixture(TASKS["st"], {}, 1)
    data = {"text": "The dog.", "src_text": "der hund", "compressed": np.zeros((3, 4))}
    made = SpeechLlamaPreprocessor(prompts, mixture, reads_transcripts=True)("u", data)
    assert made["transcript"].tolist() == prompts["st"].encode("der hund")
    assert "transcript" not in SpeechLlamaPreprocessor(prompts, mixture)("u", data)
    with pytest.raises(ValueError, match="utterance u: its transcript has no tokens"):
        SpeechLlamaPreprocessor(prompts, mixture, reads_transcripts=True)("u", {**data, "src_text": ""})


def test_batches_count_the_transcript_and_leave_out_who_has_none(tiny_llm: Path, tmp_path: Path) -> None:
    prompts = make_prompts(PromptConfig(), "st", load_tokenizer(str(tiny_llm)))
    spoken = {"long": "der hund " * 20, "none": "", "short": "der hund"}
    names = dict.fromkeys(spoken, "7")
    data = DataDir(tmp_path, {"text": dict.fromkeys(spoken, "The dog."), "src_text": spoken, "utt2num_frames": names})
    plain = PositionCounter(prompts, lambda frames: frames)
    before, found = (count_positions(data, each) for each in (plain, dataclasses.replace(plain, transcript="src_text")))
    assert not before.skipped and "no tokens" in found.skipped["none"].detail
    tokens = {name: len(prompts["st"].encode(text)) for name, text in spoken.items()}
    assert tokens["short"] <= 7 < tokens["long"]
    assert found.positions == {
        "long": before.positions["long"] - 7 + tokens["long"],
        "short": before.positions["short"],
    }
    fits = dataclasses.replace(plain, transcript="src_text", context=before.positions["short"])
    assert "of the audio or the transcript" in count_positions(data, fits).skipped["long"].detail


def test_distilled_training_resumes_exactly_and_reports_its_parts(recipe: Any) -> None:
    settings: dict[str, Any] = {"llm_conf": LORA, "prefix_mask": "non_causal", "batch_bins": 200, "text_share": 0.3}
    taught = {**settings, "distill_conf": DISTILL}
    start = ("--init_from", str(recipe.root / "e5"))
    recipe.train_llm("kl_whole", *start, max_epoch=2, **taught)
    recipe.train_llm("kl_broken", *start, max_epoch=1, **taught)
    recipe.train_llm("kl_broken", *start, max_epoch=2, **taught)
    recipe.train_llm("no_kl", *start, max_epoch=2, **settings)
    whole, broken, without = (
        recipe.load(recipe.root / name / "2epoch.pth") for name in ("kl_whole", "kl_broken", "no_kl")
    )
    assert all(torch.equal(whole[name], broken[name]) for name in whole)
    assert not all(torch.equal(whole[name], without[name]) for name in whole)
    stats = torch.load(recipe.root / "kl_whole/checkpoint.pth", weights_only=False)["reporter"]["stats"][2]
    for phase in ("train", "valid"):
        seen = stats[phase]
        assert seen["loss"] == pytest.approx(0.5 * seen["loss_ce"] + 0.5 * 4 * seen["loss_kl"], rel=1e-4)
        assert seen["loss_kl"] > 0 and np.isfinite(seen["loss_text"])
    recorded = yaml.safe_load((recipe.root / "kl_whole/config.yaml").read_text())
    assert recorded["distill_conf"] == DISTILL
    with pytest.raises(ValueError, match="distill_conf: weight"):
        recipe.train_llm("kl_whole", *start, max_epoch=3, **{**taught, "distill_conf": {"weight": 0.2}})


def test_data_without_transcripts_are_refused(recipe: Any) -> None:
    words = recipe.llm_command("kl_no_data", distill_conf=DISTILL)
    at = next(index for index, word in enumerate(words) if word.endswith("src_text,src_text,text"))
    from speechllama.bin import llm_train

    with pytest.raises(ValueError, match="the teacher reads transcripts, and no data is named 'src_text'"):
        llm_train.main([*words[: at - 1], *words[at + 1 :]])


@pytest.mark.parametrize(
    ("settings", "task", "message"),
    [
        ({"distill_conf": DISTILL}, "st", "a teacher reads them: choose another system"),
        ({}, "cot", "the task cot writes them: choose another system"),
    ],
)
def test_translations_in_the_place_of_transcripts_are_refused(
    recipe: Any, tmp_path: Path, settings: dict[str, Any], task: str, message: str
) -> None:
    from speechllama.bin import llm_train

    copied = tmp_path / "train"
    shutil.copytree(recipe.root / "train/compressed", copied)
    (copied / "src_text").write_text((copied / "text").read_text())
    words = recipe.llm_command("no_transcripts", task=task, **settings)
    words = [word.replace(f"{recipe.root}/train/compressed/", f"{copied}/") for word in words]
    with pytest.raises(ValueError, match=f"train/src_text: has the translations, .*{message}"):
        llm_train.main(words)
