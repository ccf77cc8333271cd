"""The tokenizer of an LLM: does it fit, and what ends a text.

path or hub id -> tokenizer
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from speechllama.faults import InputError, MissingFileError
from speechllama.hub import explain_hub_error
from speechllama.llm.architecture import text_part

MODEL_DIR = "model"  # in an LLM's directory: the Hugging Face directory of one that a recipe makes or unpacks
GGUF = ".gguf"
GENERATION = "generation_config.json"


def is_gguf(path: str | Path) -> bool:
    """Whether a path names a GGUF file, by its ending; `prepare_llm` makes a directory of one."""
    return str(path).lower().endswith(GGUF)


def pretrained(path: str, revision: str | None = None) -> dict[str, Any]:
    """The arguments by which `from_pretrained` of transformers finds a directory, a hub id or a GGUF file."""
    if is_gguf(path):
        return {"pretrained_model_name_or_path": str(Path(path).parent), "gguf_file": Path(path).name}
    return {"pretrained_model_name_or_path": path, "revision": revision}


def check_llm_path(path: str) -> None:
    """Tell a missing directory from a hub id before transformers asks the hub for "/data/llama".

    Raises:
        FileNotFoundError: The path looks local and holds no model.
    """
    if is_gguf(path):
        if not Path(path).is_file():
            raise MissingFileError(f"{path!r}: no such GGUF file")
        return
    looks_local = path.startswith((".", "/", "~")) or path.count("/") != 1 or Path(path).exists()
    if not path or (looks_local and not (Path(path) / "config.json").is_file()):
        raise MissingFileError(
            f"{path!r} is no language model: expected a directory with config.json, weights and tokenizer as "
            "save_pretrained writes them, a GGUF file, or a hub id such as organisation/name"
        )


def load_tokenizer(path: str, revision: str | None = None) -> Any:
    """Load the LLM's tokenizer and check that it fits the LLM.

    Returns:
        A transformers tokenizer with an end-of-sequence token.

    Raises:
        FileNotFoundError, ValueError: There is none, it has no end-of-sequence token, or it has more tokens than
            the LLM has embeddings, or its end of sequence is unknown to the LLM.
    """
    from transformers import AutoConfig, AutoTokenizer

    check_llm_path(path)
    try:
        tokenizer = AutoTokenizer.from_pretrained(**pretrained(path, revision))
        architecture = AutoConfig.from_pretrained(**pretrained(path, revision))
    except Exception as error:  # files of unknown origin fail in many ways; the library tokenizers has only Exception
        reason = explain_hub_error(error) or f"transformers cannot load its tokenizer: {error}"
        raise InputError(f"{path}: {reason}") from error
    vocabulary = text_part(architecture, path).vocab_size
    if tokenizer.eos_token_id is None:
        raise InputError(f"{path}: the tokenizer has no end-of-sequence token; the model could never stop")
    ends = find_ends(architecture, path, revision)
    if ends and tokenizer.eos_token_id not in ends:
        raise InputError(
            f"{path}: the tokenizer ends a text with {tokenizer.eos_token!r} ({tokenizer.eos_token_id}), the LLM's "
            f"config.json and generation_config.json with {sorted(ends)}; set eos_token in tokenizer_config.json or "
            "eos_token_id in config.json to what the LLM learned to end with"
        )
    if len(tokenizer) > vocabulary and not is_gguf(path):  # of which `convert_gguf` makes a tokenizer that fits
        raise InputError(
            f"{path}: the tokenizer has {len(tokenizer)} tokens, the LLM {vocabulary} embeddings: "
            "this tokenizer belongs to another LLM"
        )
    return tokenizer


def find_ends(architecture: Any, path: str, revision: str | None = None) -> set[int]:
    """All ids that end a sequence by config.json or generation_config.json; Llama 3, for one, has several."""
    from transformers import GenerationConfig

    settings = [architecture.get_text_config()]
    if not is_gguf(path):
        try:
            settings.append(GenerationConfig.from_pretrained(path, revision=revision or "main"))
        except OSError as error:  # not every model has one
            if (Path(path) / GENERATION).is_file():
                raise InputError(f"{path}/{GENERATION}: transformers cannot read it: {error}") from error
        except (TypeError, ValueError, AttributeError) as error:
            raise InputError(f"{path}/{GENERATION}: transformers cannot read it: {error}") from error
    ends = [end for entry in settings if (end := getattr(entry, "eos_token_id", None)) is not None]
    try:
        return {int(one) for end in ends for one in (end if isinstance(end, list) else [end])}
    except (TypeError, ValueError) as error:
        raise InputError(
            f"{path}: eos_token_id of config.json or {GENERATION}: expected numbers, found {ends}"
        ) from error
