"""Arrays on disk, in Kaldi's ark and scp: written in parts by parallel jobs, then merged."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import struct
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import kaldiio
import numpy as np

from speechllama.data.data_dir import DataDir, is_copied, read_data_dir, write_data_dir
from speechllama.data.skipped import Skip, read_skipped, write_skipped
from speechllama.faults import InputError, first_ten
from speechllama.files import read_table, read_utf8, write_table, writing
from speechllama.frontend.feature_format import read_format

TWO_BYTES = 3  # kTwoByteAuto of Kaldi's CompressedMatrix
Storage = Literal["float32", "int16"]


def part_path(output_dir: str | Path, name: str, job: int, kind: str) -> Path:
    """Name a file of one part: `<output_dir>/<name>.<job>.<kind>`."""
    return Path(output_dir) / f"{name}.{job}.{kind}"


def split_part(utterances: Sequence[str], num_jobs: int, job: int) -> list[str]:
    """Take part `job` (from 1) of `num_jobs` neighbouring parts, whose sizes differ by one at most.

    Raises:
        ValueError: There is no such part.
    """
    if not 1 <= job <= num_jobs:
        raise InputError(f"there is no part {job} of {num_jobs}; expected --job from 1 to --num_jobs")
    total = len(utterances)
    return list(utterances[(job - 1) * total // num_jobs : job * total // num_jobs])


@contextmanager
def ark_writer(
    output_dir: str | Path, name: str, job: int, storage: Storage = "float32"
) -> Iterator[Callable[[str, np.ndarray], None]]:
    """Open `<name>.<job>.ark` and `.scp`, which appear under their names only when whole.

    Args:
        output_dir: Their folder; the scp holds it as given, a relative one is relative to the reader's.
        name: "feats" or "compressed".
        job: The part, from 1.
        storage: How numbers lie on disk: `float32`, or `int16`, Kaldi's compressed matrix (kTwoByteAuto), in half the
            space: whole numbers between the extremes of the matrix, so that none is clipped. All readers of Kaldi's
            archives know it, and none knows float16.

    Yields:
        `write(utterance, array)`: numbers (T, F), or whole numbers (U,), which are Kaldi's int32 vector in any case.

    Raises:
        ValueError: An utterance is written twice, or holds NaN or infinity.
    """
    ark, scp = part_path(output_dir, name, job, "ark"), part_path(output_dir, name, job, "scp")
    ark.parent.mkdir(parents=True, exist_ok=True)
    temporary = ark.with_name(f"{ark.name}.tmp")  # one name, so that a killed part's rest is overwritten
    places: dict[str, str] = {}
    try:
        with writing(ark), temporary.open("wb") as stream:

            def write(utterance: str, array: np.ndarray) -> None:
                if utterance in places:
                    raise InputError(f"{ark}: utterance {utterance!r} is written a second time")
                what = f"{ark}: {name} of utterance {utterance!r}"
                check_finite(array, what)
                # The scp points at what comes after the key and its space.
                places[utterance] = f"{ark}:{stream.tell() + len(utterance.encode()) + 1}"
                is_whole = np.issubdtype(array.dtype, np.integer)
                stored = np.ascontiguousarray(array, dtype=np.int32 if is_whole else np.float32)
                method = TWO_BYTES if storage == "int16" and not is_whole else None
                kaldiio.save_ark(stream, {utterance: stored}, compression_method=method)

            yield write
        scp.unlink(missing_ok=True)  # an older scp must not point into the new ark
        os.replace(temporary, ark)
        write_table(scp, places)
    finally:
        temporary.unlink(missing_ok=True)


def check_finite(array: np.ndarray, what: str) -> None:
    """Refuse NaN and infinity where they are written: in training one of them undoes a whole epoch.

    Args:
        array: Numbers.
        what: What they are, for the message.

    Raises:
        ValueError: Some are no finite numbers.
    """
    if np.isfinite(array).all():
        return
    rows = np.flatnonzero(~np.isfinite(array).reshape(len(array), -1).all(axis=1))
    raise InputError(
        f"{what} hold NaN or infinity in {len(rows):,} of {len(array):,} frames, the first is {rows[0]}; expected "
        "finite numbers: look at the recording, or at the weights of what made them"
    )


def digest_places(places: Mapping[str, str]) -> str:
    """Digest what an scp says to read: utterances, places, size and time of change of each ark."""
    states: dict[Path, tuple[int, int] | None] = {}
    digest = hashlib.sha256()
    for utterance, place in places.items():
        path = Path(place.rpartition(":")[0])
        if path not in states:
            states[path] = (path.stat().st_size, path.stat().st_mtime_ns) if path.is_file() else None
        digest.update(repr((utterance, place, states[path])).encode())
    return digest.hexdigest()


def read_matrix(place: str) -> np.ndarray:
    """Read one matrix (T, F), float32, or unit numbers (U,), by its value in an scp ("path:offset").

    Raises:
        ValueError: It cannot be read from there.
    """
    try:
        matrix: np.ndarray = kaldiio.load_mat(place)
    except (OSError, ValueError, AssertionError, RuntimeError, EOFError, struct.error) as error:
        raise InputError(f"{place}: no matrix can be read there ({error}); write it again") from error
    return matrix


def read_features(place: str, named_in: str) -> np.ndarray:
    """Read one matrix (T, F), or unit numbers (U,), as `read_matrix`, and check that its numbers are finite.

    Args:
        place: The value in an scp.
        named_in: The scp, and the utterance, for messages.

    Raises:
        ValueError: It cannot be read from there, or holds NaN or infinity.
    """
    try:
        matrix = read_matrix(place)
        check_finite(matrix, f"{place}: the features")
    except ValueError as error:
        raise InputError(f"{named_in}: {error}") from error
    return matrix


def stored_width(data_dir: str | Path) -> int:
    """Numbers in each row of a data directory's features: F, or 1 of waveforms, of which the network makes features."""
    features = read_format(data_dir)
    return 1 if features.is_trained else features.feature_dim


def read_batch(
    places: Mapping[str, str], utterances: Sequence[str], table: Path, width: int | None = None
) -> list[np.ndarray]:
    """Read the matrices of some utterances, all of one width.

    Args:
        places: The values of an scp.
        utterances: Which.
        table: That scp, for messages.
        width: F that all must have; None: that of most of them.

    Raises:
        ValueError: One cannot be read, holds NaN or infinity, or has another width; it is named.
    """
    matrices = [read_features(places[utt], f"{table}: {utt}") for utt in utterances]
    shapes = Counter(matrix.shape[1:] for matrix in matrices)
    expected = shapes.most_common(1)[0][0] if width is None else (width,)
    for utterance, matrix in zip(utterances, matrices, strict=True):
        if matrix.shape[1:] != expected:
            raise InputError(
                f"{table}: {utterance}: {places[utterance]}: {matrix.shape[1:]} numbers in each frame, expected "
                f"{expected}; write it again"
            )
    return matrices


def check_maker(data_dir: str | Path, name: str, expected: Mapping[str, Any]) -> None:
    """Refuse arrays that were made by something else: they would fit and mean something else.

    Args:
        data_dir: Where the parts are; those without a record (`<name>.<job>.done`) are taken as they are.
        name: "compressed".
        expected: What the record must say.

    Raises:
        ValueError: The record says something else.
    """
    done = part_path(data_dir, name, 1, "done")
    if not done.is_file():
        return
    try:
        written = _of_today(dict(json.loads(read_utf8(done))[0]), expected)
    except (ValueError, TypeError, LookupError) as error:
        raise InputError(f"{done}: not a record that stage `compress` wrote ({error}); run that stage again") from error
    differing = [key for key in {**written, **expected} if written.get(key) != expected.get(key)]
    if differing:
        found, wanted = ({key: each[key] for key in differing if key in each} for each in (written, expected))
        raise InputError(
            f"{data_dir}: {name} by {found} ({done.name}), the model expects {wanted}; give its own, or run stage "
            "`compress` again, whose marker .compress.done must be removed if it is finished"
        )


def _of_today(written: dict[str, Any], expected: Mapping[str, Any]) -> dict[str, Any]:
    """An older record, with the settings of all compressors in one list, as `compressor_conf` says them now.

    Units of that time were vectors of width 1, which are no longer read: their record stays, and differs.
    """
    if "name" not in written or "centroids" in written:
        return written
    conf = {key: written[key] for key in expected.get("compressor_conf", {}) if key in written}
    return {"compressor": written["name"], "compressor_conf": conf, "encoder": written["encoder"]}


def num_allowed(max_bad_share: float, total: int) -> int:
    """Count how many of all utterances may be left out; one always may."""
    return max(1, int(max_bad_share * total))


def merge_parts(
    data_dir: str | Path, output_dir: str | Path, num_jobs: int, name: str = "feats", max_bad_share: float = 1.0
) -> DataDir:
    """Make a data directory of what the parallel jobs wrote.

    Args:
        data_dir: The data directory that the jobs read; its texts and speakers are copied for what there is.
        output_dir: Where the parts are and the merged tables go.
        num_jobs: Number of parts.
        name: "feats" or "compressed"; the parts' ctc_hyp.J are merged too where they exist.
        max_bad_share: Utterances that the parts may have left out, as a share of all; one always may.

    Returns:
        The new data directory, with `<name>.scp` and utt2num_frames.

    Raises:
        FileNotFoundError: A part is missing.
        ValueError: An utterance is in no part, in two, or unknown; there is nothing at all, or too much was left out.
    """
    data, output_dir = read_data_dir(data_dir), Path(output_dir)
    jobs = range(1, num_jobs + 1)
    keys = {utterance: utterance for utterance in data.utterances}
    scp = _merge([part_path(output_dir, name, job, "scp") for job in jobs], keys)
    num_frames = _merge([output_dir / f"utt2num_frames.{job}" for job in jobs], keys)
    skipped: dict[str, Skip] = {}
    for job in jobs:
        skipped.update(read_skipped(output_dir / f"skipped.{job}"))
    _check_complete(data, scp, num_frames, skipped, f"{output_dir}/{name}.*.scp")
    reasons = first_ten([f"{utterance}: {skip.detail}" for utterance, skip in skipped.items()])
    allowed = num_allowed(max_bad_share, len(data.utterances))
    if len(skipped) > allowed:
        raise InputError(
            f"{output_dir}: {len(skipped):,} of {len(data.utterances):,} failed, at most {allowed:,} may "
            f"(--max_bad_share {max_bad_share}); repair them or raise the share:{reasons}"
        )
    copied = [table for table in data.tables if is_copied(table)]
    tables = {table: {utt: data.table(table)[utt] for utt in scp} for table in copied}
    tables.update({f"{name}.scp": scp, "utt2num_frames": num_frames})
    hypotheses = [output_dir / f"ctc_hyp.{job}" for job in jobs]
    if any(path.is_file() for path in hypotheses):
        tables["ctc_hyp"] = _merge(hypotheses, keys)
    merged = DataDir(output_dir, tables)
    write_skipped(output_dir / "skipped", skipped)
    write_data_dir(merged, output_dir)
    logging.info("%s: kept %s of %s%s", output_dir, f"{len(scp):,}", f"{len(data.utterances):,}", reasons)
    return merged


def _merge(paths: Sequence[Path], keys: dict[str, str]) -> dict[str, str]:
    merged: dict[str, str] = {}
    for path in paths:
        part = read_table(path, keys)
        twice = [utterance for utterance in part if utterance in merged]
        if twice:
            raise InputError(f"{path}: {len(twice):,} utterances are in an earlier part too:{first_ten(twice)}")
        merged.update(part)
    return merged


def _check_complete(
    data: DataDir, scp: dict[str, str], num_frames: dict[str, str], skipped: Mapping[str, Skip], where: str
) -> None:
    """Refuse parts of another data directory: each utterance is there or skipped, never both."""
    known = set(data.utterances)
    lost = [utt for utt in data.utterances if utt not in scp and utt not in skipped]
    faults = [f"{utt}: in no part and not skipped" for utt in lost]
    faults += [f"{utt}: not in {data.path}" for utt in [*scp, *skipped] if utt not in known]
    faults += [f"{utt}: skipped, yet in the scp" for utt in skipped if utt in scp]
    faults += [f"{utt}: not in both scp and utt2num_frames" for utt in sorted(scp.keys() ^ num_frames.keys())]
    if not scp and not faults:
        reasons = [f"{utterance}: {skip.detail}" for utterance, skip in skipped.items()]
        raise InputError(f"{where}: no utterance of {data.path} is left:{first_ten(reasons)}")
    if faults:
        raise InputError(
            f"{where}: {len(faults):,} faults; these are not the parts of {data.path}, run them again:"
            + first_ten(faults)
        )
