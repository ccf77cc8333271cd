"""Check that the LLM exists and its tokenizer fits, from its small files only.

directory or hub id -> architecture, bytes still to fetch
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllama.hub import explain_hub_error, missing_weights, resolve_folder
from speechllama.llm.files import check_llm_path, find_ends, is_gguf, load_tokenizer
from speechllama.llm.gguf_file import check_gguf
from speechllama.model.meta_model import read_architecture

BYTES_OF_FLOAT = 4  # the most that stage llm writes for a weight of a GGUF file


@dataclass(frozen=True)
class FoundLLM:
    """An LLM that can be used.

    Attributes:
        architecture: Its transformers config.
        bytes_to_fetch: What must be downloaded from the hub.
        bytes_to_write: What stage llm unpacks of a GGUF file.
        line: What the report says about it.
    """

    architecture: Any
    bytes_to_fetch: float
    line: str
    bytes_to_write: float = 0.0


def find_llm(path: str, revision: str | None, faults: list[str]) -> FoundLLM | None:
    """Look at an LLM without loading its weights.

    Args:
        path: Directory or hub id.
        revision: Revision on the hub.
        faults: Gets a line for each thing that is wrong with it.

    Returns:
        The LLM; None if not even its shape is known.
    """
    to_write = 0.0
    try:
        check_llm_path(path)
        if is_gguf(path):
            to_write = BYTES_OF_FLOAT * check_gguf(path)["num_parameters"]
        num_tokens = len(load_tokenizer(path, revision))
        architecture = read_architecture(path, revision)
    except (OSError, ValueError) as error:
        faults.append(str(error))
        return None
    if not find_ends(architecture, path, revision):
        faults.append(f"{path}: config.json has no eos_token_id; the model could never stop. Add the tokenizer's")
    to_fetch = 0.0
    if Path(path).is_dir():
        missing = missing_weights(Path(path))
        if missing:
            faults.append(f"{path}: its weights are not all there: no {', '.join(missing[:3])}; fetch them again")
    elif not is_gguf(path):
        to_fetch = bytes_on_hub(path, revision, faults)
    line = f"{path}: {architecture.model_type}, {num_tokens:,} tokens for {architecture.vocab_size:,} embeddings"
    line += f"; {to_fetch / 1e9:.1f} GB to fetch" if to_fetch else ""
    return FoundLLM(architecture, to_fetch, line, to_write)


def bytes_on_hub(path: str, revision: str | None, faults: list[str]) -> float:
    """Return the size of the weights that the cache does not have yet; a refusal of the hub is a fault."""
    from huggingface_hub import HfApi, try_to_load_from_cache

    with contextlib.suppress(OSError):  # if all of it is in the cache, no hub is needed
        if not missing_weights(resolve_folder(path, revision)):
            return 0.0
    try:
        listed = HfApi().model_info(path, revision=revision, files_metadata=True).siblings or []
    except Exception as error:  # the hub's library lets exceptions of its HTTP client pass, whatever client that is
        reason = explain_hub_error(error) or f"the hub did not answer ({type(error).__name__}: {error}); try again"
        faults.append(f"{path}: {reason}")
        return 0.0
    sizes = {file.rfilename: file.size or 0 for file in listed}
    kind = ".safetensors" if any(name.endswith(".safetensors") for name in sizes) else ".bin"
    wanted = {name: size for name, size in sizes.items() if name.endswith(kind) and "/" not in name}
    cached = {name for name in wanted if isinstance(try_to_load_from_cache(path, name, revision=revision), str)}
    return float(sum(size for name, size in wanted.items() if name not in cached))
