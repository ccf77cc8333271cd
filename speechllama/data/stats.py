"""Statistics of the features: train and dev directories -> cmvn.npz (F) and shape files for batches."""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from speechllama.constants import NUM_MELS
from speechllama.data.ark import read_features
from speechllama.data.data_dir import DataDir, read_data_dir
from speechllama.data.skipped import Reason, Skip, write_skipped
from speechllama.faults import InputError, first_ten
from speechllama.files import write_table, writing
from speechllama.frontend.feature_format import read_format
from speechllama.progress import progress
from speechllama.text.checkpoint_units import CTCUnits, read_units

VARIANCE_FLOOR = 1e-10  # a bin that never changes must not divide by 0


def num_frames_needed(units: Sequence[int]) -> int:
    """Count the frames that CTC needs: one for each unit, and a blank between equal neighbours."""
    return len(units) + sum(left == right for left, right in zip(units, units[1:], strict=False))


def collect_stats(
    data_dirs: Mapping[str, str | Path],
    tokenizer_path: str | Path,
    output_dir: str | Path,
    num_encoder_frames: Callable[[int], int],
    text_name: str = "src_text",
) -> None:
    """Write cmvn.npz and {train,dev}/{speech_shape,text_shape,skipped}.

    Args:
        data_dirs: Data directories with feats.scp, `train` and `dev`; mean and variance are taken over all frames of
            `train`. Where the front end trains they are 0 and 1: features that change have no statistics.
        tokenizer_path: The CTC units: a SentencePiece model, or units.json of a checkpoint.
        output_dir: Where the files go.
        num_encoder_frames: Feature frames T -> encoder frames M.
        text_name: The table that CTC learns, "src_text" or "text".

    Raises:
        ValueError: A table is missing, features differ in width or are not finite, or no utterance is usable.
    """
    tokenizer = read_units(tokenizer_path)
    sets = {name: read_data_dir(folder) for name, folder in data_dirs.items()}
    for data in sets.values():
        missing = [name for name in ("feats.scp", "utt2num_frames", text_name) if not data.table(name)]
        if missing:
            raise InputError(f"{data.path}: {', '.join(missing)} missing or empty; run the feature stage")
    for name, data in sets.items():
        write_shapes(data, tokenizer, num_encoder_frames, text_name, Path(output_dir) / name)
    features = read_format(data_dirs["train"])
    if features.is_trained:
        # The features change as the front end trains; `TrainedFrontEnd` normalises each of them by itself.
        mean, std = np.zeros(features.feature_dim, np.float32), np.ones(features.feature_dim, np.float32)
        frames = sum(sets["train"].num_frames.values())
    else:
        mean, std, frames = feature_statistics(sets["train"].table("feats.scp"), f"{sets['train'].path}/feats.scp")
    path = Path(output_dir) / "cmvn.npz"
    temporary = path.with_name(f"{path.name}.tmp.{os.getpid()}")
    with writing(path), temporary.open("wb") as stream:
        np.savez(stream, mean=mean, std=std, frames=np.int64(frames))
    os.replace(temporary, path)
    logging.info("%s: %s frames of %d bins", path, f"{frames:,}", len(mean))


def feature_statistics(feats_scp: dict[str, str], where: str = "feats.scp") -> tuple[np.ndarray, np.ndarray, int]:
    """Compute mean and standard deviation of all frames, one utterance in memory at a time.

    Args:
        feats_scp: Places of the features by utterance.
        where: The table's name, for messages.

    Returns:
        Mean (F,), standard deviation (F,), both float32, and the number of frames.
    """
    total, squares, frames = np.zeros(0), np.zeros(0), 0
    for utterance, place in progress(feats_scp.items(), len(feats_scp), "utterances"):
        features = read_features(place, f"{where}: {utterance}").astype(np.float64)  # (T, F)
        if not frames:
            total, squares = np.zeros(features.shape[1]), np.zeros(features.shape[1])
        if features.shape[1] != len(total):
            raise InputError(
                f"{place}: features of {utterance} are {features.shape}, expected (T, {len(total)}); run the feature "
                "stage again"
            )
        total += features.sum(axis=0)
        squares += np.square(features).sum(axis=0)
        frames += len(features)
    mean = total / frames
    variance = np.maximum(squares / frames - np.square(mean), VARIANCE_FLOOR)
    return mean.astype(np.float32), np.sqrt(variance).astype(np.float32), frames


def write_shapes(
    data: DataDir,
    tokenizer: CTCUnits,
    num_encoder_frames: Callable[[int], int],
    text_name: str,
    output_dir: Path,
) -> dict[str, Skip]:
    """Write "utterance T,F" and "utterance L" for the utterances that CTC can learn from.

    T and F are those that log-mel features would have, whatever the front end: see `FeatureShape.log_mel_frames`.

    Args:
        data: Data directory with features.
        tokenizer: CTC units.
        num_encoder_frames: Feature frames T -> encoder frames M.
        text_name: The table that CTC learns.
        output_dir: Where speech_shape, text_shape and skipped go.

    Returns:
        Why each utterance left out is.

    Raises:
        ValueError: None is left.
    """
    features = read_format(data.path).shape
    speech: dict[str, str] = {}
    text: dict[str, str] = {}
    counts = data.num_frames
    skipped: dict[str, Skip] = {}
    for utterance, transcript in data.table(text_name).items():
        units = tokenizer.encode(transcript)
        num_frames = counts[utterance]
        available, needed = num_encoder_frames(num_frames), num_frames_needed(units)
        if not units:
            skipped[utterance] = Skip(Reason.NO_UNITS, f"its {text_name} {transcript!r} has no CTC units")
        elif available < needed:
            found = f"{num_frames} frames become {available}, {len(units)} units need {needed}"
            skipped[utterance] = Skip(Reason.TOO_SHORT, found)
        else:
            frames = features.log_mel_frames(num_frames)
            speech[utterance], text[utterance] = f"{frames},{NUM_MELS}", str(len(units))
    shown = first_ten([f"{utterance}: {skip.detail}" for utterance, skip in skipped.items()])
    languages = Counter(data.table("utt2lang").get(utterance, "") for utterance in skipped)
    listed = ", ".join(f"{language} {count:,}" for language, count in sorted(languages.items()))
    message = f"{data.path}: kept {len(speech):,} of {len(data.utterances):,} utterances for CTC"
    if not speech:
        raise InputError(f"{message}; larger units or other data are needed:{shown}")
    logging.info("%s%s", message, f"; left out {len(skipped):,} ({listed}):{shown}" if skipped else "")
    write_table(output_dir / "speech_shape", speech)
    write_table(output_dir / "text_shape", text)
    write_skipped(output_dir / "skipped", skipped)
    return skipped
