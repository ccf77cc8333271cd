"""A Hugging Face model directory: is it one, does its tokenizer fit, which weights are these.

    path or hub id -> tokenizer, fingerprint
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")  # transformers reads the first kind that is there
SAMPLE_BLOCK = 1 << 16  # bytes read at each sampled place of a weight file
NUM_SAMPLES = 64  # places: 4 MiB a file, so that 13 GB of weights are told apart in well under a second


def check_llm_path(path: str) -> None:
    """Tell a missing directory from a hub id before transformers asks the hub for "/data/llama".

    Raises:
        FileNotFoundError: The path looks local and holds no model.
    """
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1 or Path(path).exists()
    if not path or (looks_local and not (Path(path) / "config.json").is_file()):
        raise FileNotFoundError(
            f"{path!r} is no language model: expected a directory with config.json, weights and tokenizer as "
            "save_pretrained writes them, or a hub id such as organisation/name"
        )


def load_tokenizer(path: str, revision: str | None = None) -> Any:
    """Load the LLM's tokenizer and check that it fits the LLM.

    Returns:
        A transformers tokenizer with an end-of-sequence token.

    Raises:
        FileNotFoundError, ValueError: There is none, it has no end-of-sequence token, or it has more tokens than
            the LLM has embeddings.
    """
    from transformers import AutoConfig, AutoTokenizer

    check_llm_path(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path, revision=revision)
        vocabulary = AutoConfig.from_pretrained(path, revision=revision).vocab_size
    except (OSError, ValueError, KeyError, AttributeError) as error:
        raise ValueError(f"{path}: transformers cannot load its tokenizer: {error}") from error
    if tokenizer.eos_token_id is None:
        raise ValueError(f"{path}: the tokenizer has no end-of-sequence token; the model could never stop")
    if len(tokenizer) > vocabulary:
        raise ValueError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens, the LLM {vocabulary} embeddings: "
            "this tokenizer belongs to another LLM"
        )
    return tokenizer


def fingerprint(path: str, revision: str | None = None) -> bytes:
    """32 bytes that tell one set of weights from another.

    Weight files are read at evenly spaced places, not whole: fine-tuning moves every tensor, so samples differ, and
    13 GB need not be read before each run. A directory without weights (random_weights) counts by its config.

    Args:
        path: Local directory or hub id, as given to the config; of a hub id, what loading has put into the cache.
        revision: Revision on the hub.

    Returns:
        A SHA-256 digest.
    """
    folder = Path(path)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download

        folder = Path(snapshot_download(path, revision=revision, local_files_only=True))
    digest = hashlib.sha256()
    files = next((found for found in (sorted(folder.glob(kind)) for kind in WEIGHT_FILES) if found), [])
    for file in files:
        size = file.stat().st_size
        digest.update(f"{file.name} {size}\n".encode())
        with file.open("rb") as stream:
            for sample in range(NUM_SAMPLES):
                stream.seek(max(0, size - SAMPLE_BLOCK) * sample // (NUM_SAMPLES - 1))
                digest.update(stream.read(SAMPLE_BLOCK))
    if not files:
        settings = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        digest.update(json.dumps(settings, sort_keys=True).encode())
    return digest.digest()
