"""A LLaMA with random weights: its tokenizer and its shape; system D trains it on speech.

target text -> <llm_dir>/model (config.json and tokenizer, no weights), llm.json
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from speechllama.faults import InputError
from speechllama.files import writing
from speechllama.llm.files import MODEL_DIR
from speechllama.llm.record import write_llm_record

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>")


@dataclass(frozen=True)
class LlamaConfig:
    """Sizes of a LLaMA: pre-norm, SwiGLU, rotary positions.

    The defaults are the paper's decoder-only model from scratch (12 layers, 768, 12 heads, about 150 M with the
    convolutions in front). It tells neither vocabulary nor feed-forward width; with four times the width and 16,000
    tokens there are 143 M, 40 % fewer than in an encoder-decoder of 240 M, as the paper says.

    Attributes:
        vocab_size: Tokens, the three special ones included.
        width: Width H.
        num_layers: Layers.
        num_heads: Attention heads.
        ffn_dim: Width of the feed-forward layer.
        tie_embeddings: Whether the output layer is the embedding table.

    Source: arXiv 2307.03917, section 4.
    """

    vocab_size: int = 16000
    width: int = 768
    num_layers: int = 12
    num_heads: int = 12
    ffn_dim: int = 3072
    tie_embeddings: bool = False


def make_scratch_llm(config: LlamaConfig, texts: Iterable[str], llm_dir: str | Path) -> dict[str, Any]:
    """Make tokenizer and shape of an LLM; its weights are drawn where it is trained.

    Args:
        config: Sizes; little text gives fewer tokens than wanted.
        texts: Target texts of the training set.
        llm_dir: Where `model` and llm.json go.

    Returns:
        The record in llm.json.

    Raises:
        ValueError: There is no text.
    """
    lines = [text for text in texts if text.strip()]
    if not lines:
        raise InputError(f"{llm_dir}: no target text to make the tokenizer from; run stage `data`")
    tokenizer = train_llama_tokenizer(lines, config.vocab_size)
    with torch.device("meta"):
        llm = build_llama(config, tokenizer)
    folder = Path(llm_dir) / MODEL_DIR
    with writing(folder):
        llm.config.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
    num_parameters = sum(parameter.numel() for parameter in llm.parameters())
    record = {
        "path": MODEL_DIR,
        "revision": None,
        "has_weights": False,
        "architecture": type(llm).__name__,
        "num_parameters": num_parameters,
        "width": config.width,
        "num_tokens": len(tokenizer),
        "has_start_token": True,
        "config": asdict(config),
    }
    write_llm_record(llm_dir, record)
    logging.info("LLM from scratch: %s parameters, %d tokens", f"{num_parameters:,}", len(tokenizer))
    return record


def train_llama_tokenizer(texts: Iterable[str], vocab_size: int) -> Any:
    """A byte-pair tokenizer of LLaMA's kind ("▁" for spaces), with start and end tokens."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    unk, bos, eos = SPECIAL_TOKENS
    tokenizer = Tokenizer(models.BPE(unk_token=unk))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="always")
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, special_tokens=list(SPECIAL_TOKENS), show_progress=False)
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token=unk, bos_token=bos, eos_token=eos)


def build_llama(config: LlamaConfig, tokenizer: Any) -> Any:
    """A LLaMA with random weights for such a tokenizer."""
    from transformers import LlamaForCausalLM

    return LlamaForCausalLM(llama_shape(config, len(tokenizer)))


def llama_shape(config: LlamaConfig, num_tokens: int) -> Any:
    """The transformers config of these sizes, with as many tokens as the tokenizer has."""
    import transformers

    return transformers.LlamaConfig(
        vocab_size=num_tokens,
        hidden_size=config.width,
        intermediate_size=config.ffn_dim,
        num_hidden_layers=config.num_layers,
        num_attention_heads=config.num_heads,
        max_position_embeddings=512,
        bos_token_id=SPECIAL_TOKENS.index("<s>"),
        eos_token_id=SPECIAL_TOKENS.index("</s>"),
        tie_word_embeddings=config.tie_embeddings,
    )
