"""COMET of a decoded set and of its control, computed in an environment of its own.

hypotheses, references, transcripts -> comet_worker.py in another Python -> <decode_dir>/comet.json, of the control too

unbabel-comet 2.2 needs numpy < 2, transformers < 5 and protobuf < 5, and can be in no environment with this package.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from speechllama.data.data_dir import lacks_transcripts
from speechllama.faults import InputError
from speechllama.files import read_table
from speechllama.report.decoded_set import DecodedSet, hypothesis_path
from speechllama.report.score import Pairs, has_texts, pair
from speechllama.report.segments import SegmentScores, digest_texts, read_segments, segments_path, write_segments
from speechllama.text.clean import is_blank
from speechllama.text.tasks import COMET, Task

WORKER = Path(__file__).with_name("comet_worker.py")
SOURCE = "src_text"  # the table with transcripts
HOW_TO = (
    "make it an environment of its own (python3 -m venv comet_env && comet_env/bin/pip install unbabel-comet) and give "
    "--comet_python comet_env/bin/python"
)


@dataclass(frozen=True)
class CometConfig:
    """What computes COMET.

    Attributes:
        model: Its checkpoint, a directory in the hub's form, or a repository on the hub, perhaps with @REVISION.
        python: The interpreter of an environment with unbabel-comet; "" is this one.
        batch_size: Segments at once.
        ngpu: GPUs, 0 or 1.
    """

    model: str
    python: str = ""
    batch_size: int = 16
    ngpu: int = 0


def find_comet(python: str) -> str:
    """Return the version of COMET in an environment.

    Args:
        python: Its interpreter; "" is this one.

    Raises:
        ValueError: There is no such interpreter, or no COMET in it; the message says how to make one.
    """
    command = [python or sys.executable, str(WORKER), "--version"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, env=_environment())
    except OSError as error:
        raise InputError(f"--comet_python {python}: cannot be run ({error.strerror}); {HOW_TO}") from error
    version = found.stdout.strip()
    if found.returncode != 0 or not version:
        raise InputError(f"no unbabel-comet in {python or sys.executable}; {HOW_TO}")
    return version


def score_comet(decoded: DecodedSet, task: Task, config: CometConfig) -> None:
    """Compute COMET of a decoded set and of its control, and write it next to their hypotheses.

    What is there already, of the same texts and the same model, is not computed again.

    Args:
        decoded: The set.
        task: What was decoded, a task with COMET among its metrics.
        config: The model, and what runs it.

    Raises:
        ValueError: COMET or its model is not there, or the model reads transcripts and there are none.
    """
    data_dir = Path(decoded.data_dir)
    references = task.texts_of(read_table(data_dir / task.reference))
    if not has_texts(references):  # a set that is decoded and not scored
        return
    folders = [Path(folder) for folder in (decoded.hyp_dir, decoded.control_dir) if folder is not None]
    sets = [pair(read_table(hypothesis_path(folder)), references, str(hypothesis_path(folder))) for folder in folders]
    left = [each for each in zip(folders, sets, strict=True) if not is_scored(*each, config.model)]
    if not left:
        return
    sources = read_sources(data_dir)
    response = run_worker([list_segments(pairs, sources) for _, pairs in left], config)
    signature = sign(response, config.model)
    for (folder, pairs), scores in zip(left, response["scores"], strict=True):
        by_utterance = dict(zip(pairs.utterances, scores, strict=True))
        texts = digest_texts(pairs.hypotheses, pairs.references)
        write_segments(SegmentScores(signature, texts, config.model, by_utterance), folder, COMET.name)


def is_scored(folder: Path, pairs: Pairs, model: str) -> bool:
    """Whether a decoding directory has scores of these texts by this model."""
    try:
        found = read_segments(folder, COMET.name, digest_texts(pairs.hypotheses, pairs.references))
    except ValueError:  # of other texts: the new scores replace them
        segments_path(folder, COMET.name).unlink()
        return False
    return found is not None and found.model == model


def read_sources(data_dir: Path) -> dict[str, str] | None:
    """Read the transcripts; None where an utterance has none, or the corpus."""
    path = data_dir / SOURCE
    found = read_table(path) if path.is_file() and not lacks_transcripts(data_dir) else {}
    return None if not found or any(map(is_blank, found.values())) else found


def list_segments(pairs: Pairs, sources: Mapping[str, str] | None) -> list[dict[str, str]]:
    """Lay pairs out as COMET reads them: source, if there is one, hypothesis and reference."""
    rows = zip(pairs.utterances, pairs.hypotheses, pairs.references, strict=True)
    return [
        {**({"src": sources[utterance]} if sources else {}), "mt": hypothesis, "ref": reference}
        for utterance, hypothesis, reference in rows
    ]


def run_worker(sets: Sequence[Sequence[Mapping[str, str]]], config: CometConfig) -> dict[str, Any]:
    """Run comet_worker.py in COMET's environment.

    Raises:
        ValueError: It fails; its last line says why, and all it says is in the log.
    """
    find_comet(config.python)
    request = {"model": config.model, "sets": sets, "batch_size": config.batch_size, "ngpu": config.ngpu}
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / name for name in ("request.json", "response.json")]
        files[0].write_text(json.dumps(request), encoding="utf-8")
        command = [config.python or sys.executable, str(WORKER), *map(str, files)]
        found = subprocess.run(command, stderr=subprocess.PIPE, text=True, env=_environment())
        sys.stderr.write(found.stderr)
        if found.returncode != 0:
            last = (found.stderr.strip().splitlines() or [f"exit status {found.returncode}"])[-1]
            raise InputError(f"--comet_model {config.model}: {last}")
        response: dict[str, Any] = json.loads(files[1].read_text(encoding="utf-8"))
    return response


def sign(response: Mapping[str, Any], model: str) -> str:
    """Write the signature: the model with its commit on the hub and its fingerprint, what it read, and versions."""
    name = model.partition("@")[0]
    if Path(model).exists():  # no path of this machine
        place = Path(model).resolve()
        name = (place.parent.parent if place.is_file() and place.parent.name == "checkpoints" else place).name
    read = "+".join(
        [*(["src"] if response["has_source"] else []), "mt", *(["ref"] if response["has_reference"] else [])]
    )
    revision = f"|revision:{response['revision']}" if response["revision"] else ""
    made = f"model:{name}{revision}|fingerprint:{response['fingerprint']}|class:{response['class']}"
    return f"COMET|{made}|reads:{read}|scale:100|unbabel-comet:{response['version']}"


def _environment() -> dict[str, str]:
    """Leave out what would put packages of this environment into the other one."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}
