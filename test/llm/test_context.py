"""The LLM's positions: how many there are, what a prefix leaves, and what neither training nor search goes beyond."""

from __future__ import annotations

import types
from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.data.data_dir import DataDir
from speechllama.data.llm_shapes import PositionCounter, write_llm_shapes
from speechllama.data.skipped import Reason, read_skipped
from speechllama.decode.search import SearchConfig, search
from speechllama.decode.speech2text import Utterance
from speechllama.decode.speech_llama2text import SpeechLlamaToText
from speechllama.decode.text_scorer import Item, TextScorer
from speechllama.files import read_table
from speechllama.llm.config import LLMConfig
from speechllama.llm.context import context_length, read_context, tokens_left
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import Prefix
from speechllama.text.prompt import Prompt, PromptConfig
from speechllama.train.speech_llama import check_context

CONTEXT = 20


@pytest.fixture(scope="module")
def gpt2(tiny_llm: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A GPT-2 of 20 learned positions, with the tokenizer of the tiny LLaMA."""
    from transformers import GPT2Config, GPT2LMHeadModel

    tokenizer = load_tokenizer(str(tiny_llm))
    torch.manual_seed(3)
    sizes: dict[str, Any] = {"n_positions": CONTEXT, "n_embd": 16, "n_layer": 1, "n_head": 2}
    model = GPT2LMHeadModel(GPT2Config(vocab_size=len(tokenizer), **sizes, bos_token_id=1, eos_token_id=2))
    folder = tmp_path_factory.mktemp("gpt2")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


def prefix_of(llm: LLM, *lengths: int) -> Prefix:
    """Prefixes of noise, right-aligned."""
    width = max(lengths)
    embeddings = torch.randn(len(lengths), width, llm.dim, generator=torch.Generator().manual_seed(1))
    return Prefix(embeddings, torch.tensor(lengths))


def test_each_architecture_names_its_positions_its_own_way() -> None:
    import transformers as hf

    assert context_length(hf.GPT2Config(n_positions=20)) == 20
    assert context_length(hf.LlamaConfig(max_position_embeddings=64)) == 64
    assert context_length(hf.OPTConfig(max_position_embeddings=32)) == 32
    assert context_length(hf.BloomConfig()) is None  # ALiBi has no limit
    text = {"max_position_embeddings": 77}
    assert context_length(hf.Gemma3Config(text_config=text, vision_config={})) == 77


def test_positions_that_are_not_trained_yet_limit_only_where_they_are_a_table() -> None:
    import transformers as hf

    assert context_length(hf.LlamaConfig(max_position_embeddings=64), random_weights=True) is None
    assert context_length(hf.GPT2Config(n_positions=20), random_weights=True) == 20


def test_what_a_prefix_leaves_is_what_the_llm_can_write() -> None:
    assert tokens_left(20, torch.tensor([19, 20, 21, 5])).tolist() == [2, 1, 0, 16]
    assert tokens_left(None, torch.tensor([10**6])).item() > 10**6


def test_an_utterance_beyond_the_context_is_left_out_and_counted(gpt2: Path, tmp_path: Path) -> None:
    prompt = Prompt(PromptConfig("{audio}"), "st", load_tokenizer(str(gpt2)))
    text = "The dog sleeps."
    num_text = len(prompt.encode(text))
    longest = CONTEXT - 1 - num_text  # after the start token
    frames = {"a": longest, "b": longest + 1, "c": 3, "d": 3}
    texts = {"a": text, "b": text, "c": "", "d": "The ĉdog."}
    tables = {"utt2num_frames": {utt: str(n) for utt, n in frames.items()}, "text": texts}
    counter = PositionCounter({"st": prompt}, lambda frames: frames, read_context(str(gpt2)))
    shapes = write_llm_shapes(DataDir(tmp_path, tables), counter, tmp_path / "shape")
    assert {utt: int(n) for utt, n in read_table(tmp_path / "shape").items()} == shapes.positions
    assert shapes.positions["a"] == CONTEXT + 1 and set(shapes.positions) == {"a", "d"}  # the end has no position
    found = read_skipped(tmp_path / "shape.skipped")
    assert {utt: skip.reason for utt, skip in found.items()} == {"b": Reason.BEYOND_CONTEXT, "c": Reason.NO_TOKENS}
    assert found["b"].detail == f"1 of the prompt, {longest + 1} of the audio, {num_text} of the text, the LLM has 20"
    page = (tmp_path / "shape.md").read_text()
    assert "kept 2 of 4 utterances" in page and "1 with more positions than the LLM has" in page
    assert "'ĉ' in 1" in page and "d: The ĉdog. -> The dog." in page
    check_context([str(tmp_path / "shape")], CONTEXT)
    check_context([str(tmp_path / "shape")], None)
    with pytest.raises(ValueError, match=r"shape: 1 of 2 utterances need more than the LLM's 19 positions.*\n  a: 20"):
        check_context([str(tmp_path / "shape")], CONTEXT - 1)
    tables["text"] = dict.fromkeys(texts, text * 9)
    with pytest.raises(ValueError, match=r"no utterance has audio and text that fit the LLM.*\n\n4 with more pos"):
        write_llm_shapes(DataDir(tmp_path, tables), counter, tmp_path / "shape")


def test_the_longest_utterance_that_is_kept_can_be_trained_on(gpt2: Path) -> None:
    from speechllama.model.text_logits import read_text

    llm = LLM(LLMConfig(str(gpt2)))
    text = torch.full((1, 7), 20)
    assert read_text(llm, prefix_of(llm, CONTEXT - 7), text, torch.tensor([7]), "causal").logits.shape[1] == 8
    with pytest.raises(IndexError):  # one more
        read_text(llm, prefix_of(llm, CONTEXT - 6), text, torch.tensor([7]), "causal")


@pytest.mark.parametrize("beam", [1, 3])
def test_search_ends_with_the_context_and_says_so(gpt2: Path, beam: int, caplog: pytest.LogCaptureFixture) -> None:
    llm = LLM(LLMConfig(str(gpt2))).eval()
    with torch.no_grad():
        llm.model.transformer.wte.weight[2] = -5.0  # it hardly ever ends by itself
    lengths = (CONTEXT - 1, CONTEXT, 12)
    config = SearchConfig(beam, nbest=beam)
    found = search(llm, prefix_of(llm, *lengths), torch.tensor([30, 30, 6]), "causal", config)
    assert [len(nbest[0].tokens) for nbest in found] == [2, 1, 6]
    assert [nbest[0].is_cut for nbest in found] == [True] * 3
    words = "prompt and audio leave too few of the LLM's 20 positions: the text of 2 of 3 utterances was cut"
    assert words in caplog.text
    with pytest.raises(ValueError, match="prompt and audio take 21 positions, the LLM has 20; cut the recording into"):
        search(llm, prefix_of(llm, CONTEXT + 1, 3), torch.tensor([5, 5]), "causal", config)


def test_audio_beyond_the_context_gets_an_empty_text_and_changes_no_other(
    gpt2: Path, caplog: pytest.LogCaptureFixture
) -> None:
    llm = LLM(LLMConfig(str(gpt2))).eval()
    network = types.SimpleNamespace(llm=llm, config=types.SimpleNamespace(prefix_mask="causal"))
    place = {"device": torch.device("cpu"), "folder": Path(), "settings": {}}
    experiment: Any = types.SimpleNamespace(network=network, **place)
    translate = SpeechLlamaToText(experiment, SearchConfig(2, max_tokens=4))
    prefix = prefix_of(llm, 5, CONTEXT + 3, 9)
    found = translate._search(prefix, [Utterance(1.0), Utterance(60.0), Utterance(2.0)])
    assert found[1][0].tokens == []
    assert "1 utterances get no text: prompt and audio take more than the LLM's 20 positions (60.0 s)" in caplog.text
    rows = torch.tensor([0, 2])
    alone = search(
        llm, Prefix(prefix.embeddings[rows], prefix.lengths[rows]), torch.tensor([4, 4]), "causal", translate.config
    )
    for row, expected in zip((0, 2), alone, strict=True):
        assert found[row][0].tokens == expected[0].tokens
        assert found[row][0].score == pytest.approx(expected[0].score, abs=1e-5)
    assert translate._search(prefix_of(llm, 25), [Utterance(9.0)])[0][0].tokens == []


def test_a_text_that_the_scorer_has_no_positions_for_is_refused(gpt2: Path) -> None:
    llm = LLM(LLMConfig(str(gpt2))).eval()
    scorer = TextScorer(llm, Prompt(PromptConfig(), "st", load_tokenizer(str(gpt2))), prompted=False)
    assert len(scorer.score([Item([1], [20] * (CONTEXT - 1))])) == 1
    with pytest.raises(
        ValueError, match="a text takes 21 positions with its prompt, the LLM that should score it has 20"
    ):
        scorer.score([Item([1], [20] * CONTEXT)])
