"""The LLM's door: what trains, dtype kept, adapters, padding, memory, and the trained stories260K."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from speechllama.llm.config import LLMConfig, LoRAConfig
from speechllama.llm.files import load_tokenizer
from speechllama.llm.llm import LLM
from speechllama.llm.prefix_mask import join_right_aligned, position_ids, visible


def test_a_frozen_llm_trains_nothing_and_keeps_its_dtype(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm), dtype="bfloat16"))
    assert not any(parameter.requires_grad for parameter in llm.parameters())
    llm.to(dtype=torch.float32, device="cpu")
    assert {parameter.dtype for parameter in llm.parameters()} == {torch.bfloat16}


def test_lora_trains_its_adapters_alone_in_float32(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm), train="lora", dtype="bfloat16", lora=LoRAConfig(rank=3)))
    trainable = {name: parameter for name, parameter in llm.named_parameters() if parameter.requires_grad}
    # 2 layers, q k v o, A and B of rank 3 at width 32
    assert sum(parameter.numel() for parameter in trainable.values()) == 2 * 4 * 2 * 3 * 32
    assert all("lora_" in name for name in trainable)
    assert {parameter.dtype for parameter in trainable.values()} == {torch.float32}


def test_a_fresh_adapter_changes_nothing(tiny_llm: Path) -> None:
    tokens = torch.tensor([[1, 5, 9, 12]])
    frozen, adapted = (LLM(LLMConfig(str(tiny_llm), train=train)).eval() for train in ("frozen", "lora"))
    torch.testing.assert_close(score(frozen, tokens), score(adapted, tokens))


def score(llm: LLM, tokens: torch.Tensor) -> torch.Tensor:
    """Logits of all columns of a full batch without padding."""
    lengths, width = torch.full((len(tokens),), tokens.shape[1]), tokens.shape[1]
    seen = visible(lengths, width, 0, "causal")
    with torch.no_grad():
        return llm(llm.embed(tokens), seen, position_ids(lengths, width, 0), num_logits=width)


def test_padding_never_changes_an_utterance(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm))).eval()
    tokens = torch.tensor([[3, 7, 9, 11, 30], [5, 6, -1, -1, -1]])
    lengths = torch.tensor([5, 2])
    prefix = join_right_aligned([(llm.embed(tokens), lengths)])
    seen = visible(prefix.lengths, 5, 0, "non_causal")
    batched = llm(prefix.embeddings, seen, position_ids(prefix.lengths, 5, 0), num_logits=1)
    for row, length in enumerate(lengths.tolist()):
        own = lengths[row : row + 1]
        seen = visible(own, length, 0, "non_causal")
        single = llm(llm.embed(tokens[row : row + 1, :length]), seen, position_ids(own, length, 0), num_logits=1)
        torch.testing.assert_close(batched[row], single[0], atol=1e-4, rtol=1e-4)


def test_training_mode_wakes_no_dropout_of_a_frozen_llm(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm), train="lora", lora=LoRAConfig(dropout=0.1))).train()
    awake = [name for name, module in llm.model.named_modules() if module.training]
    assert awake
    assert all("lora_dropout" in name for name in awake)


def test_the_trained_llama_tells_its_story(shared_data: Path) -> None:
    path = str(shared_data / "llama" / "stories260K")
    llm, tokenizer = LLM(LLMConfig(path)), load_tokenizer(path)
    ids = torch.tensor([[tokenizer.bos_token_id, *tokenizer("Once upon a time", add_special_tokens=False).input_ids]])
    story = tokenizer.decode(llm.model.generate(ids, max_new_tokens=30, do_sample=False)[0], skip_special_tokens=True)
    # shared/data/README.md gives this continuation
    assert "there was a little girl named Lily. She loved to play outside in the park." in story


def test_the_embeddings_scale_is_what_the_llm_reads(tmp_path: Path) -> None:
    from transformers import Gemma3ForCausalLM, Gemma3TextConfig

    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    heads: dict[str, Any] = {"num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 8}
    config = Gemma3TextConfig(vocab_size=300, eos_token_id=1, **sizes, **heads)
    Gemma3ForCausalLM(config).save_pretrained(tmp_path)
    llm = LLM(LLMConfig(str(tmp_path)))
    weight = llm.model.get_input_embeddings().weight
    assert llm.embedding_std == pytest.approx(weight.std().item() * 32**0.5, rel=1e-3)  # Gemma scales by sqrt(H)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_gradient_checkpointing_changes_neither_loss_nor_gradients(tiny_llm: Path, dtype: str) -> None:
    results, saved = [], []
    for again in (False, True):
        torch.manual_seed(1)  # of the adapters
        llm = LLM(LLMConfig(str(tiny_llm), train="lora", dtype=dtype, gradient_checkpointing=again)).train()
        lengths, tokens = torch.tensor([4]), torch.tensor([[1, 5, 9, 12]])
        embeddings = llm.embed(tokens).detach().requires_grad_()
        seen = visible(lengths, 4, 0, "non_causal")
        kept: list[torch.Tensor] = []

        def keep(tensor: torch.Tensor, kept: list[torch.Tensor] = kept) -> torch.Tensor:
            kept.append(tensor)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            logits = llm(embeddings, seen, position_ids(lengths, 4, 0), num_logits=2)
        logits.float().square().sum().backward()
        assert embeddings.grad is not None
        adapters = [weight.grad for weight in llm.parameters() if weight.requires_grad]
        results.append([logits.detach(), embeddings.grad, *adapters])
        saved.append(len(kept))
    for plain, recomputed in zip(*results, strict=True):
        torch.testing.assert_close(plain, recomputed, rtol=0, atol=0)
    assert saved[1] < saved[0] / 3


def test_adapters_of_a_bfloat16_llm_keep_no_float32_copy_of_their_input(tiny_llm: Path) -> None:
    llm = LLM(LLMConfig(str(tiny_llm), train="lora", dtype="bfloat16")).train()
    width = 7  # columns; no size of the LLM
    lengths = torch.tensor([width])
    kept: list[torch.Tensor] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor)
        return tensor

    embeddings = llm.embed(torch.arange(width)[None]).detach().requires_grad_()
    seen = visible(lengths, width, 0, "causal")
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        llm(embeddings, seen, position_ids(lengths, width, 0), num_logits=1)
    wide = {id(kind): kind for kind in kept if kind.dtype == torch.float32 and kind.numel() >= width * llm.dim}
    # What is left are the inputs of the norms, which transformers computes in float32: two a layer and the last.
    assert len({tensor.untyped_storage().data_ptr() for tensor in wide.values()}) <= 2 * 2 + 1
