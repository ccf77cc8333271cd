"""The only file that imports COMET; it runs in the environment of COMET, which has no other package of ours.

request.json {model, sets of segments} -> response.json {scores of each set, version, class, revision, fingerprint}

Ours calls it as `PYTHON comet_worker.py request.json response.json`, and with `--version` to know what is there.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import json
import sys
from pathlib import Path

# The folder of this file is first on the path, and must not hide a package of the environment.
sys.path.pop(0)

PACKAGE = "unbabel-comet"
WITHOUT_SOURCE = ("UnifiedMetric", "XCOMETMetric")  # classes that may read hypothesis and reference only
BLOCK = 1 << 20  # bytes


class RequestError(ValueError):
    """A request that cannot be answered, and why; the exceptions of the project cannot be imported here."""


def find_version() -> str:
    """Return the version of COMET in this environment; "" without one."""
    try:
        return importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError:
        return ""


def find_checkpoint(model: str) -> Path:
    """Find a checkpoint: a file, a directory in the hub's form, or a repository on the hub, perhaps with @REVISION."""
    place = Path(model)
    if place.is_file():
        return place
    if not place.is_dir():
        name, _, revision = model.partition("@")
        if revision:
            hub = importlib.import_module("huggingface_hub")
            place = Path(hub.snapshot_download(repo_id=name, revision=revision))
        else:
            return Path(importlib.import_module("comet").download_model(name))
    return place / "checkpoints" / "model.ckpt"


def digest_file(path: Path) -> str:
    """Return a fingerprint of a file."""
    content = hashlib.blake2b(digest_size=8)
    with path.open("rb") as stream:
        for block in iter(lambda: stream.read(BLOCK), b""):
            content.update(block)
    return content.hexdigest()


def find_revision(checkpoint: Path) -> str:
    """Return the hub's commit, which is part of the path in its cache; "" for other files."""
    parts = checkpoint.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts else ""


def answer(request: dict) -> dict:
    """Score what was asked.

    Raises:
        RequestError: The model reads the source, and the segments have none.
    """
    checkpoint = find_checkpoint(request["model"])
    model = importlib.import_module("comet").load_from_checkpoint(str(checkpoint))
    kind = type(model).__name__
    sets = request["sets"]
    segments = [segment for each in sets for segment in each]
    if kind not in WITHOUT_SOURCE and any("src" not in segment for segment in segments):
        raise RequestError(f"the model {request['model']} ({kind}) reads the source, and the set has no transcripts")
    if not model.requires_references():  # it would warn of what it does not read
        segments = [{key: text for key, text in segment.items() if key != "ref"} for segment in segments]
    found = model.predict(segments, batch_size=request["batch_size"], gpus=request["ngpu"])
    scores, taken = [float(score) for score in found.scores], []
    for each in sets:
        taken.append(scores[: len(each)])
        scores = scores[len(each) :]
    return {
        "scores": taken,
        "version": find_version(),
        "class": kind,
        "has_reference": bool(model.requires_references()),
        "has_source": "src" in segments[0],
        "revision": find_revision(checkpoint),
        "fingerprint": digest_file(checkpoint),
    }


def main() -> None:
    """Read the request, write the response; what is wrong with the request ends in one line on stderr."""
    if sys.argv[1:] == ["--version"]:
        print(find_version())
        return
    request, response = map(Path, sys.argv[1:])
    try:
        found = answer(json.loads(request.read_text(encoding="utf-8")))
    except (ValueError, OSError, KeyError) as error:
        sys.exit(f"COMET: {error.args[0] if isinstance(error, KeyError) else error}")
    response.write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main()
