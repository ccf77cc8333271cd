"""Features of a data directory, in parts: wav.scp -> front end -> feats.ark (T, F), frontend.json."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping
from pathlib import Path

import numpy as np

from speechllama.constants import DEFAULT_FRONT_END
from speechllama.data.ark import ark_writer, check_finite, num_allowed, part_path, split_part
from speechllama.data.audio import read_audio
from speechllama.data.data_dir import DataDir, read_data_dir
from speechllama.data.front_ends import (
    FeatureExtractor,
    FrontEnd,
    choose_front_end,
    describe_features,
    write_format,
)
from speechllama.data.skipped import Reason, Skip, read_skipped, write_skipped
from speechllama.faults import InputError, first_ten
from speechllama.files import read_json, write_json, write_table
from speechllama.progress import progress
from speechllama.registry import Choice


def make_features(
    data_dir: str | Path,
    output_dir: str | Path,
    part: tuple[int, int] = (1, 1),
    max_bad_share: float = 0.05,
    front_end: Choice[FrontEnd] | None = None,
) -> None:
    """Write the features of one part of a data directory; a finished part of the same input is kept.

    Writes frontend.json, feats.J.ark, feats.J.scp, utt2num_frames.J, skipped.J, and last feats.J.done (the input's
    digest).

    Args:
        data_dir: Data directory with wav.scp.
        output_dir: Where the part goes; the ark's path is written into the scp as given here.
        part: Which part, from 1, of how many.
        max_bad_share: Utterances that may fail, as a share of the whole data directory; one always may. What all parts
            lost together is checked where they are merged.
        front_end: What computes them; None: log-mel energies with the default settings.

    Raises:
        ValueError: More utterances failed; what is done is kept, the next call only repeats the check.
    """
    data = read_data_dir(data_dir)
    if not data.table("wav.scp"):
        raise InputError(f"{data_dir}: has no wav.scp (or an empty one), features need recordings")
    job, num_jobs = part
    utterances = split_part(data.utterances, num_jobs, job)
    choice = front_end or choose_front_end(DEFAULT_FRONT_END, {})
    output_dir = Path(output_dir)
    done = part_path(output_dir, "feats", job, "done")
    fingerprint = _fingerprint(data, utterances, choice)
    if _is_finished(output_dir, job, fingerprint):
        logging.info("part %d of %d is finished: %s", job, num_jobs, done)
    else:
        done.unlink(missing_ok=True)
        extractor: FeatureExtractor = choice.build()
        write_format(output_dir, describe_features(choice, extractor))
        _write_part(data, utterances, extractor, output_dir, job)
        write_json(done, {"input": fingerprint})
    skipped = read_skipped(output_dir / f"skipped.{job}")
    allowed = num_allowed(max_bad_share, len(data.utterances))
    kept, total = len(utterances) - len(skipped), len(utterances)
    message = f"{output_dir}: part {job} of {num_jobs}: kept {kept:,} of {total:,}"
    faults = first_ten([f"{utterance}: {skip.detail}" for utterance, skip in skipped.items()])
    if len(skipped) > allowed:
        raise InputError(
            f"{message}; {len(skipped):,} failed, at most {allowed:,} may (--max_bad_share {max_bad_share}); "
            f"repair them or raise the share:{faults}"
        )
    logging.info("%s%s", message, f"; skipped:{faults}" if skipped else "")


def _write_part(data: DataDir, utterances: list[str], extractor: FeatureExtractor, output_dir: Path, job: int) -> None:
    num_frames: dict[str, str] = {}
    skipped: dict[str, Skip] = {}
    with ark_writer(output_dir, "feats", job) as write:
        for utterance in progress(utterances, len(utterances), "utterances"):
            try:
                features = extractor(_read_utterance(data, utterance))
            except (ValueError, OSError) as error:
                skipped[utterance] = Skip(Reason.NO_FEATURES, str(error))
                continue
            try:
                check_finite(features, "its features")
            except ValueError as error:
                skipped[utterance] = Skip(Reason.NOT_FINITE, str(error))
                continue
            write(utterance, features)
            num_frames[utterance] = str(len(features))
        write_table(output_dir / f"utt2num_frames.{job}", num_frames)
        write_skipped(output_dir / f"skipped.{job}", skipped)


def _read_utterance(data: DataDir, utterance: str) -> np.ndarray:
    segment = data.table("segments").get(utterance)
    if segment is None:
        return read_audio(data.table("wav.scp")[utterance])
    recording, start, end = segment.split()
    return read_audio(data.table("wav.scp")[recording], float(start), float(end))


def _fingerprint(data: DataDir, utterances: list[str], choice: Choice[FrontEnd]) -> str:
    """Digest what a part depends on: settings, utterances, each recording's path, size and time of change."""
    digest = hashlib.sha256(json.dumps([choice.record.name, choice.conf()], sort_keys=True).encode())
    recordings: Mapping[str, str] = data.table("wav.scp")
    for utterance in utterances:
        segment = data.table("segments").get(utterance, "")
        path = Path(recordings.get(segment.split()[0] if segment else utterance, ""))
        state = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
        facts = (utterance, segment, str(path), state)
        digest.update(repr(facts).encode())
    return digest.hexdigest()


def _is_finished(output_dir: Path, job: int, fingerprint: str) -> bool:
    done = part_path(output_dir, "feats", job, "done")
    written = [part_path(output_dir, "feats", job, kind) for kind in ("ark", "scp")]
    written += [output_dir / f"utt2num_frames.{job}", output_dir / f"skipped.{job}"]
    if not done.is_file() or not all(path.is_file() for path in written):
        return False
    return bool(read_json(done).get("input") == fingerprint)
