"""Models of the Hugging Face hub, or of a local directory in its form: where they are, which weights they hold.

path or hub id, revision -> folder, commit, fingerprint
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from speechllama.faults import InputError, MissingFileError

WEIGHT_FILES = ("model*.safetensors", "pytorch_model*.bin")  # transformers reads the first kind that is there
SAMPLE_BLOCK = 1 << 16  # bytes read at each sampled place of a weight file
NUM_SAMPLES = 64  # places: 4 MiB a file, so that 13 GB of weights are told apart in well under a second


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
            "(hf download ID --local-dir DIR) and give that directory instead, or fill the cache that HF_HOME names"
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
    return [] if weight_files(folder) else list(WEIGHT_FILES)


def weight_files(folder: Path) -> list[Path]:
    """Find the weight files of a local model directory, of the kind that transformers reads; [] where there is none."""
    return next((found for found in (sorted(folder.glob(kind)) for kind in WEIGHT_FILES) if found), [])


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
    files = weight_files(folder)
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
