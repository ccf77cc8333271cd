"""Features of a data directory, in parts: wav.scp, or feats.scp -> front end -> feats.ark (T, F), frontend.json.

Where the front end trains, the network makes the features, and feats.ark has waveforms (S, 1), in 16 bits a sample.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from speechllama.batches import padded_batches
from speechllama.constants import BATCH_SECONDS, DEFAULT_FRONT_END, SAMPLE_RATE
from speechllama.data.ark import (
    ark_writer,
    check_finite,
    digest_places,
    num_allowed,
    part_path,
    read_matrix,
    split_part,
)
from speechllama.data.data_dir import DataDir, read_data_dir
from speechllama.data.findings import Tally
from speechllama.data.recordings import Recordings, is_command
from speechllama.data.skipped import Reason, Skip, read_skipped, write_skipped
from speechllama.faults import InputError, first_ten
from speechllama.files import read_json, write_json, write_table
from speechllama.frontend.feature_format import describe_features, write_format
from speechllama.frontend.front_ends import FeatureExtractor, FrontEnd, PretrainedExtractor, choose_front_end
from speechllama.frontend.trainable import TrainableExtractor, Waveform
from speechllama.hub import weight_files
from speechllama.progress import progress
from speechllama.registry import Choice

SOURCES = {"audio": "wav.scp", "features": "feats.scp"}  # what a front end reads -> the table with it
READ_AHEAD = 64  # recordings, from which batches of like length are made for a front end with weights


@dataclass(frozen=True)
class Extraction:
    """What computes features, and where.

    Attributes:
        front_end: The front end.
        device: The torch device of a front end with weights.
        allow_commands: Run the commands that wav.scp has in place of paths.
    """

    front_end: Choice[FrontEnd]
    device: str = "cpu"
    allow_commands: bool = False


def make_features(
    data_dir: str | Path,
    output_dir: str | Path,
    part: tuple[int, int] = (1, 1),
    max_bad_share: float = 0.05,
    extraction: Extraction | None = None,
) -> None:
    """Write the features of one part of a data directory; a finished part of the same input is kept.

    Writes frontend.json, feats.J.ark, feats.J.scp, utt2num_frames.J, skipped.J, and last feats.J.done (the input's
    digest).

    Features that were made elsewhere (front end `given`) are only checked: the scp names their own places, and there is
    no ark.

    Args:
        data_dir: Data directory with wav.scp, or with feats.scp for a front end that reads features.
        output_dir: Where the part goes; the ark's path is written into the scp as given here.
        part: Which part, from 1, of how many.
        max_bad_share: Utterances that may fail, as a share of the whole data directory; one always may. What all parts
            lost together is checked where they are merged.
        extraction: What computes them, and where; None: log-mel energies with the default settings.

    Raises:
        ValueError: More utterances failed; what is done is kept, the next call only repeats the check.
    """
    data, extraction = read_data_dir(data_dir), extraction or Extraction(choose_front_end(DEFAULT_FRONT_END, {}))
    choice = extraction.front_end
    source = SOURCES[choice.record.reads]
    if not data.table(source):
        name = choice.record.name
        raise InputError(f"{data_dir}: has no {source} (or an empty one), which the front end {name} reads")
    job, num_jobs = part
    utterances = split_part(data.utterances, num_jobs, job)
    output_dir = Path(output_dir)
    done = part_path(output_dir, "feats", job, "done")
    fingerprint = _fingerprint(data, utterances, extraction)
    if _is_finished(output_dir, job, fingerprint, has_ark=choice.record.reads != "features"):
        logging.info("part %d of %d is finished: %s", job, num_jobs, done)
    else:
        done.unlink(missing_ok=True)
        extractor: FeatureExtractor = choice.build()
        if isinstance(extractor, PretrainedExtractor):
            extractor.to(extraction.device)
        features = describe_features(choice, extractor)
        write_format(output_dir, features)
        if features.is_trained and isinstance(extractor, TrainableExtractor):
            extractor = Waveform(extractor.num_frames)
        if choice.record.reads == "features":
            _check_part(data, utterances, extractor, output_dir, job)
        else:
            recordings = Recordings.of(data, extraction.allow_commands)
            _write_part(recordings, utterances, extractor, output_dir, job)
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


def _write_part(
    recordings: Recordings, utterances: list[str], extractor: FeatureExtractor, output_dir: Path, job: int
) -> None:
    """Write the features of recordings, or waveforms of which the network will make features."""
    num_frames: dict[str, str] = {}
    skipped: dict[str, Skip] = {}
    tally = Tally()
    count: Callable[[int], int] = extractor.num_frames if isinstance(extractor, Waveform) else int
    with ark_writer(output_dir, "feats", job, getattr(extractor, "storage", "float32")) as write:
        for utterance, features in _extract_all(recordings, utterances, extractor, tally):
            if isinstance(features, Exception):
                skipped[utterance] = Skip(Reason.NO_FEATURES, str(features))
                continue
            try:
                check_finite(features, f"{recordings.place(utterance)}: its features")
            except ValueError as error:
                skipped[utterance] = Skip(Reason.NOT_FINITE, str(error))
                continue
            write(utterance, features)
            num_frames[utterance] = str(count(len(features)))
        write_table(output_dir / f"utt2num_frames.{job}", num_frames)
        write_skipped(output_dir / f"skipped.{job}", skipped)
    tally.warn(f"{output_dir}: part {job}")


def _check_part(data: DataDir, utterances: list[str], extractor: FeatureExtractor, output_dir: Path, job: int) -> None:
    """Check features that were made elsewhere, and name their places."""
    places: dict[str, str] = {}
    num_frames: dict[str, str] = {}
    skipped: dict[str, Skip] = {}
    for utterance in progress(utterances, len(utterances), "utterances"):
        place = data.table("feats.scp")[utterance]
        reason = Reason.NO_FEATURES
        try:
            features = extractor(read_matrix(place))
            reason = Reason.NOT_FINITE
            check_finite(features, "its features")
        except ValueError as error:
            skipped[utterance] = Skip(reason, f"{place}: {error}")
            continue
        places[utterance], num_frames[utterance] = place, str(len(features))
    write_table(part_path(output_dir, "feats", job, "scp"), places)
    write_table(output_dir / f"utt2num_frames.{job}", num_frames)
    write_skipped(output_dir / f"skipped.{job}", skipped)


def _extract_all(
    recordings: Recordings, utterances: list[str], extractor: FeatureExtractor, tally: Tally
) -> Iterator[tuple[str, np.ndarray | Exception]]:
    """Give each utterance its features, or what went wrong; a front end with weights gets utterances of like length.

    What is unusual about recordings goes into the tally.
    """
    size = READ_AHEAD if isinstance(extractor, PretrainedExtractor) else 1
    done = progress(utterances, len(utterances), "utterances")
    for start in range(0, len(utterances), size):
        results: dict[str, np.ndarray | Exception] = {}
        waveforms: dict[str, np.ndarray] = {}
        for utterance in itertools.islice(done, size):
            try:
                recording = recordings.read(utterance)
                waveforms[utterance] = recording.waveform
                tally.add(utterance, recording.findings)
            except (ValueError, OSError) as error:
                results[utterance] = error
        lengths = {utterance: len(waveform) for utterance, waveform in waveforms.items()}
        by_length = sorted(lengths, key=lengths.__getitem__)
        for batch in padded_batches(by_length, lengths.__getitem__, BATCH_SECONDS * SAMPLE_RATE):
            results.update(_extract({utterance: waveforms[utterance] for utterance in batch}, extractor))
        for utterance in utterances[start : start + size]:
            result = results[utterance]
            place = recordings.place(utterance)
            if isinstance(result, ValueError) and place not in str(result):  # too short, mostly
                result = InputError(f"{place}: {result}")
            yield utterance, result


def _extract(waveforms: Mapping[str, np.ndarray], extractor: FeatureExtractor) -> dict[str, np.ndarray | Exception]:
    """Extract a batch; if something is wrong with it, one by one, so that only the faulty utterance is lost."""
    try:
        return dict(zip(waveforms, _compute([*waveforms.values()], extractor), strict=True))
    except ValueError as error:
        if len(waveforms) == 1:
            return dict.fromkeys(waveforms, error)
    results: dict[str, np.ndarray | Exception] = {}
    for utterance, waveform in waveforms.items():
        results.update(_extract({utterance: waveform}, extractor))
    return results


def _compute(waveforms: Sequence[np.ndarray], extractor: FeatureExtractor) -> list[np.ndarray]:
    """Compute the features of a batch, in parts where memory runs out.

    Raises:
        ValueError: Something is wrong with a waveform, or one alone is too long for the memory.
    """
    if not isinstance(extractor, PretrainedExtractor):
        return [extractor(waveform) for waveform in waveforms]
    from speechllama.split_on_oom import split_on_oom

    def work(part: Sequence[np.ndarray]) -> list[np.ndarray]:
        return extractor.many(part) if len(part) > 1 else [extractor(part[0])]

    def describe(waveform: np.ndarray) -> str:
        seconds = len(waveform) / SAMPLE_RATE
        return f"its {seconds:.1f} s do not fit into memory; set a shorter `window` in frontend_conf"

    return [features for _, features in split_on_oom(work, waveforms, describe)]


def _fingerprint(data: DataDir, utterances: list[str], extraction: Extraction) -> str:
    """Digest what a part depends on: settings, utterances, path, size and time of change of each file that is read."""
    choice = extraction.front_end
    digest = hashlib.sha256(json.dumps([choice.record.name, choice.conf()], sort_keys=True).encode())
    if choice.record.has_weights:
        weights = weight_files(Path(getattr(choice.settings, "path", "")))
        digest.update(repr([(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in weights]).encode())
    recordings: Mapping[str, str] = data.table(SOURCES[choice.record.reads])
    if choice.record.reads == "features":
        digest.update(digest_places({utterance: recordings.get(utterance, "") for utterance in utterances}).encode())
        return digest.hexdigest()
    for utterance in utterances:
        segment = data.table("segments").get(utterance, "")
        place = recordings.get(segment.split()[0] if segment else utterance, "")
        path = Path(place)
        state = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
        facts: tuple[object, ...] = (utterance, segment, str(path), state)
        if is_command(place):
            facts = (utterance, segment, place, extraction.allow_commands)
        digest.update(repr(facts).encode())
    return digest.hexdigest()


def _is_finished(output_dir: Path, job: int, fingerprint: str, has_ark: bool) -> bool:
    done = part_path(output_dir, "feats", job, "done")
    written = [part_path(output_dir, "feats", job, kind) for kind in ("scp", *(["ark"] if has_ark else []))]
    written += [output_dir / f"utt2num_frames.{job}", output_dir / f"skipped.{job}"]
    if not done.is_file() or not all(path.is_file() for path in written):
        return False
    with contextlib.suppress(InputError):  # a damaged record: the part is written again
        return bool(read_json(done).get("input") == fingerprint)
    return False
