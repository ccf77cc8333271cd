"""What libsndfile does not read (m4a, webm, wma, the sound of a video): a path -> blocks of samples, through PyAV.

PyAV brings FFmpeg along. It is the extra `av`, imported only here.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from speechllama.faults import InputError

HEAD_BYTES = 16
INSTALL = "pip install -e '.[av]'"
# First bytes of what is never given to libsndfile: offset, bytes, what to call it.
KINDS = (
    (4, b"ftyp", "an MPEG-4 file (m4a, mp4, mov)"),
    (0, b"\x1a\x45\xdf\xa3", "a WebM or Matroska file"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file (wma, asf)"),
    (0, b"#!AMR", "an AMR file"),
    (8, b"AVI ", "an AVI file"),
    (0, b"FLV", "a Flash video"),
    (0, b"\x0b\x77", "an AC-3 file"),
    (0, b"OggS", "an Ogg file of another codec than Opus or Vorbis"),
    (0, b"wvpk", "a WavPack file"),
    (0, b"MAC ", "a Monkey's Audio file"),
)
# Demuxers that read one file of sound; none of those that open what a playlist names, on disk or in the net.
DEMUXERS = (
    "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,asf,aac,amr,amrnb,amrwb,avi,flv,live_flv,ac3,eac3,wv,ape,tta,dts,mpegts,mpeg,"
    "ogg,caf,aiff,mp3,flac,wav,w64,au,3gpp,latm,loas,adts,dsf,xwma,gsm"
)
STATED = ("mov", "matroska", "asf", "avi")  # begin the names of those whose files state a true duration
SLACK_SECONDS, SLACK_SHARE = 0.5, 0.01


def name_kind(head: bytes) -> str:
    """Name what PyAV is needed for, by a file's first bytes; "" if that is not plain."""
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:
        return "an AAC file"
    return next((name for offset, magic, name in KINDS if head[offset : offset + len(magic)] == magic), "")


def decode(path: Path, kind: str) -> Iterator[tuple[np.ndarray, int]]:
    """Decode the first, or best, track of sound.

    Args:
        path: The file.
        kind: What to call it in messages; "" if it is not known.

    Yields:
        Samples (S, channels), float32, and their rate in hertz, which may change.

    Raises:
        ValueError: PyAV is not installed, or the file is no audio, has no sound, is damaged or truncated.
    """
    try:
        import av
    except ImportError as error:
        what = kind or "a format that libsndfile does not recognise; if it is m4a, webm or another one of FFmpeg's"
        raise InputError(f"{path}: {what}: {INSTALL} to read it, or write it as wav or flac") from error
    # Up to version 18, PyAV refuses a file with names in no UTF-8 unless told otherwise.
    names: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}
    seconds = 0.0
    try:
        with av.open(
            f"file:{path}",
            **names,
            options={"format_whitelist": DEMUXERS, "protocol_whitelist": "file"},
        ) as container:
            if not container.streams.audio:
                raise InputError(f"{path}: has no track of sound{f' ({kind})' if kind else ''}")
            stream = container.streams.best("audio") or container.streams.audio[0]
            for frame in container.decode(stream):
                samples = _as_samples(frame)
                seconds += len(samples) / frame.sample_rate
                yield samples, frame.sample_rate
            stated = _stated_duration(container, stream)
    except av.error.FFmpegError as error:
        where = f"after {seconds:.2f} s" if seconds else "as any kind of file that FFmpeg knows"
        raise InputError(
            f"{path}: cannot be decoded {where} ({error.strerror}); damaged, truncated or no audio"
        ) from error
    if seconds < stated * (1 - SLACK_SHARE) - SLACK_SECONDS:
        raise InputError(
            f"{path}: truncated: its header promises {stated:.2f} s, {seconds:.2f} s can be decoded; get it again"
        )


def _as_samples(frame: Any) -> np.ndarray:
    """Give a frame's samples (S, channels), float32 within about +-1."""
    samples = frame.to_ndarray()  # (channels, S), or (1, S * channels) where they take turns
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype == np.uint8:
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples.astype(np.float32) / -float(np.iinfo(samples.dtype).min)
    return np.asarray(samples.T, np.float32)


def _stated_duration(container: Any, stream: Any) -> float:
    """Seconds that the header promises; 0 where it does not, or guesses."""
    if not container.format.name.startswith(STATED):
        return 0.0
    if stream.duration:
        return float(stream.duration * stream.time_base)
    is_alone = len(container.streams) == 1
    return container.duration / 1e6 if is_alone and container.duration else 0.0
