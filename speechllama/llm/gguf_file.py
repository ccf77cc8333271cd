"""LLMs in GGUF files, the format of llama.cpp: one becomes an ordinary Hugging Face directory, once.

model.Q4_1.gguf -> <llm_dir>/model (config.json, weights, tokenizer, generation_config.json)

Quantised weights are unpacked: a frozen LLM then computes as fast as any other, and adapters fit it. Everything after
the llm stage reads the directory and knows nothing of GGUF.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any, Literal

import torch

from speechllama.faults import InputError
from speechllama.files import writing
from speechllama.llm.files import MODEL_DIR, pretrained

Precision = Literal["float32", "bfloat16", "float16"]
SPECIAL_TOKENS = {"bos": "bos", "eos": "eos", "pad": "padding"}  # transformers' names and llama.cpp's
DEFAULT_PRECISION: Precision = "bfloat16"  # what most LLMs were trained in, and finer than any quantised file


def check_gguf(path: str) -> dict[str, Any]:
    """Read the head of a GGUF file: whether it is whole, and what it holds.

    Returns:
        `architecture`, llama.cpp's name of it; `num_parameters`; `quantization`, the kinds of its tensors.

    Raises:
        ValueError: The package gguf is missing, the file is damaged, or transformers cannot unpack its architecture.
    """
    if importlib.util.find_spec("gguf") is None:
        raise InputError(f"{path}: reading a GGUF file needs the package gguf: pip install -e '.[gguf]'")
    from gguf import GGUFReader

    try:
        reader = GGUFReader(path)
        field = reader.fields["general.architecture"]
        architecture = bytes(field.parts[field.data[0]]).decode("utf-8")
        num_parameters = sum(int(tensor.n_elements) for tensor in reader.tensors)
        kinds = sorted({tensor.tensor_type.name for tensor in reader.tensors})
    except Exception as error:  # a truncated file fails as ValueError, IndexError, KeyError, UnicodeDecodeError ...
        raise InputError(
            f"{path}: a damaged GGUF file ({type(error).__name__}: {error}); fetch it again and compare its size"
        ) from error
    known = known_architectures()
    if known and _plain(architecture) not in map(_plain, known):
        raise InputError(
            f"{path}: this transformers cannot unpack a GGUF file of the architecture {architecture!r}, expected one "
            f"of {', '.join(sorted(known))}; take the LLM as a Hugging Face directory"
        )
    if not num_parameters:
        raise InputError(f"{path}: a GGUF file without weights (a vocabulary only?); expected a whole model")
    return {"architecture": architecture, "num_parameters": num_parameters, "quantization": kinds}


def known_architectures() -> set[str]:
    """What this release of transformers can unpack, by llama.cpp's names; empty where it does not say."""
    known: set[str] = set()
    with contextlib.suppress(ImportError):
        from transformers.modeling_gguf_pytorch_utils import GGUF_SUPPORTED_ARCHITECTURES

        known |= set(GGUF_SUPPORTED_ARCHITECTURES)
    with contextlib.suppress(ImportError):  # since 5.24, some are read in another way
        from transformers.integrations.gguf import GGUF_ARCHS, GGUF_CONFIG_ARCHS

        known |= set(GGUF_ARCHS) & set(GGUF_CONFIG_ARCHS)
    return known


def _plain(architecture: str) -> str:
    """A name without the marks that llama.cpp and transformers write differently."""
    return architecture.replace("_", "").replace("-", "")


def convert_gguf(
    path: str, llm_dir: str | Path, precision: Precision = DEFAULT_PRECISION
) -> tuple[str, dict[str, Any]]:
    """Unpack a GGUF file into an ordinary Hugging Face directory in `llm_dir`.

    Args:
        path: The file.
        llm_dir: Where `model` goes; an older one is replaced when the new one is whole.
        precision: Of the weights that are written.

    Returns:
        The directory, and entries for the LLM's record.

    Raises:
        ValueError: As `check_gguf`; or its tensors, its tokenizer or its numbers are no causal LM's.
    """
    head = check_gguf(path)
    folder = Path(llm_dir) / MODEL_DIR
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f"{MODEL_DIR}.tmp.{os.getpid()}")
    try:
        model, tokenizer = _unpack(path, getattr(torch, precision))
        _check_numbers(model, path)
        with writing(folder):
            model.save_pretrained(partial)  # generation_config.json, too
            tokenizer.save_pretrained(partial)
        _drop_strange_tokens(partial / "tokenizer.json", model.config.vocab_size)
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    size = sum(file.stat().st_size for file in folder.iterdir())
    kinds = ", ".join(head["quantization"])
    logging.info("%s (%s, %s) -> %s: %.2f GB in %s", path, head["architecture"], kinds, folder, size / 1e9, precision)
    return str(folder), {"gguf": str(Path(path).resolve()), "gguf_quantization": kinds, "precision": precision}


def _unpack(path: str, dtype: torch.dtype) -> tuple[Any, Any]:
    """The causal LM and the tokenizer of a GGUF file, as if they had never been in one."""
    import transformers
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    settings: dict[str, Any] = {"dtype": dtype, "output_loading_info": True}
    packed = getattr(transformers, "GgufConfig", None)  # newer releases keep weights packed unless told otherwise
    if packed is not None:
        settings["quantization_config"] = packed(dequantize=True)
    try:
        found: Any = AutoModelForCausalLM.from_pretrained(**pretrained(path), **settings)
        tokenizer = AutoTokenizer.from_pretrained(**pretrained(path))
    except Exception as error:  # transformers' readers raise whatever their arithmetic on the file raises
        raise InputError(
            f"{path}: transformers cannot make a causal LM of this GGUF file ({type(error).__name__}: {error}); it is "
            "damaged, or of a kind that this release cannot read: take the LLM as a Hugging Face directory"
        ) from error
    loaded, report = found
    missing = sorted(report["missing_keys"])
    if missing:  # transformers draws them at random and continues
        raise InputError(
            f"{path}: the GGUF file lacks {len(missing)} tensors of a {type(loaded).__name__}: {missing[:3]}"
        )
    config = loaded.config
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    config.dtype = dtype
    config.architectures = [type(loaded).__name__]
    with torch.device("meta"):
        model = type(loaded)(config)
    _set_special_tokens(path, tokenizer)
    # A model that came out of a GGUF file counts as quantised and refuses to be saved.
    model.load_state_dict(loaded.state_dict(), strict=False, assign=True)
    model.tie_weights()
    model.generation_config = GenerationConfig.from_model_config(config)
    return model, tokenizer


def _set_special_tokens(path: str, tokenizer: Any) -> None:
    """Give the tokenizer the special tokens that the file names; transformers 5.17 takes the start for the end."""
    from gguf import GGUFReader

    fields = GGUFReader(path).fields
    for ours, theirs in SPECIAL_TOKENS.items():
        field = fields.get(f"tokenizer.ggml.{theirs}_token_id")
        if field is not None:
            setattr(tokenizer, f"{ours}_token", tokenizer.convert_ids_to_tokens(int(field.parts[field.data[0]][0])))


def _drop_strange_tokens(path: Path, num_tokens: int) -> None:
    """Take tokens out of a tokenizer.json that the LLM has no embedding for.

    transformers gives every GPT-2-like tokenizer of a GGUF file a `<|endoftext|>`, also where the file has none.
    """
    content = json.loads(path.read_text(encoding="utf-8"))
    content["added_tokens"] = [token for token in content["added_tokens"] if token["id"] < num_tokens]
    path.write_text(json.dumps(content, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def _check_numbers(model: Any, path: str) -> None:
    """Refuse weights that are not there, or no numbers: a damaged file may well have the right shape."""
    for name, weight in model.named_parameters():
        if weight.is_meta:
            raise InputError(f"{path}: the GGUF file has no tensor for {name}")
        if not torch.isfinite(weight).all():
            raise InputError(f"{path}: {name} holds NaN or infinity; the GGUF file is damaged, fetch it again")
