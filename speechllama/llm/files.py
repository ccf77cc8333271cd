"""The files of a Hugging Face model: are they complete, does the tokenizer fit, which weights.

path or hub id -> tokenizer, commit, fingerprint
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from pathlib import Path
from typing import Any

from speechllama.faults import InputError, MissingFileError

MODEL_DIR = "model"  # in an LLM's directory: the Hugging Face directory of one that a recipe makes or unpacks
GGUF = ".gguf"
WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")  # transformers reads the first kind that is there
SAMPLE_BLOCK = 1 << 16  # bytes read at each sampled place of a weight file
NUM_SAMPLES = 64  # places: 4 MiB a file, so that 13 GB of weights are told apart in well under a second


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
        vocabulary = architecture.vocab_size
    except (OSError, ValueError, KeyError, AttributeError) as error:
        reason = explain_hub_error(error) or f"transformers cannot load its tokenizer: {error}"
        raise InputError(f"{path}: {reason}") from error
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
        with contextlib.suppress(OSError):  # not every model has one
            settings.append(GenerationConfig.from_pretrained(path, revision=revision or "main"))
    ends = [end for entry in settings if (end := getattr(entry, "eos_token_id", None)) is not None]
    return {int(one) for end in ends for one in (end if isinstance(end, list) else [end])}


def use_token_file(path: str | None) -> None:
    """Give the hub the token in a file: a token among the options would appear in logs and in the list of processes.

    Args:
        path: The file; None changes nothing, and HF_TOKEN or the token of `hf auth login` serve.

    Raises:
        FileNotFoundError, ValueError: There is no such file, or no token in it.
    """
    if not path:
        return
    if not Path(path).is_file():
        raise MissingFileError(f"{path}: no such file; --token_file names one that holds the hub's token")
    words = Path(path).read_text(encoding="utf-8").split()
    if len(words) != 1:
        raise InputError(f"{path}: {len(words)} words, expected the hub's token and nothing else")
    os.environ["HF_TOKEN"] = words[0]


def explain_hub_error(error: BaseException) -> str:
    """Say what to do where the hub refuses a model; "" where it is not the hub that refuses.

    Args:
        error: What transformers or huggingface_hub raised; what it was raised from is looked at, too.
    """
    from huggingface_hub import errors

    chain: list[BaseException] = []
    while error is not None and error not in chain:
        chain.append(error)
        error = error.__cause__ or error.__context__  # type: ignore[assignment]

    def holds(kind: type[BaseException]) -> bool:
        return any(isinstance(link, kind) for link in chain)

    token = "put a token of https://huggingface.co/settings/tokens into HF_TOKEN or a file for --token_file"
    if holds(errors.GatedRepoError):
        return f"its licence must be accepted: log in on its page, https://huggingface.co, accept it, then {token}"
    if holds(errors.RepositoryNotFoundError):
        return f"the hub knows no such model, or it is private: check the spelling; if it is private, {token}"
    if holds(errors.RevisionNotFoundError):
        return "the hub has no such revision of it: give --revision a branch, a tag or a whole commit of this model"
    if holds(errors.LocalEntryNotFoundError) or holds(errors.OfflineModeIsEnabled):
        return (
            "not on this machine, and the hub cannot be reached: fetch it where there is a network "
            "(hf download ID --local-dir DIR) and give that directory as --llm, or fill the cache that HF_HOME names"
        )
    return ""


def resolve_folder(path: str, revision: str | None = None) -> Path:
    """The directory of a model that has been loaded: itself, or where the hub's cache keeps that revision."""
    if Path(path).is_dir():
        return Path(path)
    from huggingface_hub import snapshot_download

    return Path(snapshot_download(path, revision=revision, local_files_only=True))


def resolve_commit(path: str, revision: str | None = None) -> str | None:
    """The whole commit of a hub model that has been loaded: the name of its folder in the cache; None of a directory.

    A commit, unlike a branch, cannot move, and a model loaded by it asks the hub nothing.
    """
    return None if Path(path).is_dir() else resolve_folder(path, revision).name


def missing_weights(folder: Path) -> list[str]:
    """Weight files that a local model directory should hold and does not; all kinds where there is none.

    Args:
        folder: Directory with config.json.
    """
    for index in sorted(folder.glob("*.index.json")):
        if folder.joinpath("model.safetensors").is_file():
            break  # a whole file goes before one in pieces
        pieces = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        return sorted(piece for piece in pieces if not (folder / piece).is_file())
    return [] if any(any(folder.glob(kind)) for kind in WEIGHT_FILES) else list(WEIGHT_FILES)


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
    folder = resolve_folder(path, revision)
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
