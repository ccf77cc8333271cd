"""MPEG audio (mp3): frames -> parts of one rate each, with their exact number of samples.

A file has no length of its own, unless its first frame is one that says it (Xing, Info); decoders guess it from the
first frame and the size of the file. All headers of frames are read here, which takes some hundredths of decoding.
Source: ISO 11172-3, section 2.4.1, and ISO 13818-3; the length frame as LAME writes it.
"""

from __future__ import annotations

import mmap
import re
from dataclasses import dataclass, replace
from pathlib import Path

from speechllama.data.containers.parts import ID3V1_BYTES, Part, skip_id3
from speechllama.faults import InputError

RATES = (44100, 48000, 32000)  # of MPEG-1 by the code in the header; MPEG-2 halves them, 2.5 quarters them
# Kbit/s by the code in the header, which begins with "free"; (MPEG-1, layer) or (MPEG-2, layer).
BIT_RATES = {
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
LENGTH_MARKS = (b"Xing", b"Info")
OTHER_MARK, OTHER_MARK_AT = b"VBRI", 36  # of Fraunhofer's encoder
HAS_FRAMES, HAS_BYTES = 1, 2  # flags of the length frame
APE_MARK, APE_BYTES = b"APETAGEX", 32
CANDIDATE = re.compile(rb"\xff(?=[\xe0-\xff])|ID3|TAG|APETAGEX")  # where a frame or a tag may begin
LEAST_SHARE = 0.5  # of a file's bytes that must be in frames; a file of anything else has a few by chance


@dataclass(frozen=True)
class Header:
    """The header of a frame.

    Attributes:
        size: Bytes of the frame.
        samples: Samples a channel.
        kind: What is the same in all frames of a recording: version, layer, rate in hertz, whether it has one channel.
        bit_rate: Its code.
    """

    size: int
    samples: int
    kind: tuple[int, int, int, bool]
    bit_rate: int


@dataclass
class Run:
    """Frames in a row of one kind.

    Attributes:
        start: First byte, with that of the length frame if there is one.
        end: The byte after the last frame.
        header: Of the first frame.
        promised: Number of frames by the length frame, which itself is not counted; None if there is none.
        num_frames: Number of frames found.
        varies: Whether their bit rates differ.
    """

    start: int
    end: int
    header: Header
    promised: int | None = None
    num_frames: int = 0
    varies: bool = False


def read_header(head: bytes) -> Header | None:
    """Read four bytes as the header of a frame; None if they are none."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bit_rate, rate_code, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer == 4 or bit_rate in (0, 15) or rate_code == 3:
        return None
    is_first = version == 3
    rate = RATES[rate_code] // (1 if is_first else 2 if version == 2 else 4)
    bits = 1000 * BIT_RATES[is_first, layer if is_first else min(layer, 2)][bit_rate]
    kind = (version, layer, rate, head[3] >> 6 == 3)
    if layer == 1:
        return Header((12 * bits // rate + padding) * 4, 384, kind, bit_rate)
    samples = 1152 if is_first or layer == 2 else 576
    return Header(samples // 8 * bits // rate + padding, samples, kind, bit_rate)


def mpeg_parts(path: Path, data: mmap.mmap | bytes) -> list[Part]:
    """Find the recordings in a file of MPEG audio, joined or not, with tags before, between and after them.

    Raises:
        ValueError: A frame is cut, a length frame promises more than there is, or the file is something else.
    """
    runs, position, skipped = [], skip_id3(data, 0), 0
    start, marks = position, _find_marks(data)
    while position < len(data):
        run = _read_run(path, data, position, marks)
        if run is not None:
            runs.append(run)
            position = run.end
            continue
        after = _skip_tag(data, position)
        if after == position:
            after = _find_frame(data, position + 1)
            skipped += after - position
        position = after
    if not runs or skipped > (1 - LEAST_SHARE) * (len(data) - start):
        raise InputError(
            f"{path}: no audio: only {len(data) - start - skipped:,} of {len(data):,} bytes are mp3 frames"
        )
    remark = f"{skipped:,} bytes between its frames are no audio and are skipped" if skipped > 4 * ID3V1_BYTES else ""
    parts = [_as_part(path, data, run) for run in runs]
    if len(parts) == 1 and parts[0].start == runs[0].start and not parts[0].prefix and not remark:
        return [replace(parts[0], start=0, end=len(data))]  # libsndfile skips tags faster than a part of a file is read
    return [replace(parts[0], remark=remark), *parts[1:]]


def _read_run(path: Path, data: mmap.mmap | bytes, position: int, marks: frozenset[int]) -> Run | None:
    """Read frames of one kind, up to the next length frame; None where there is no frame."""
    header = read_header(data[position : position + 4])
    if header is None or not _is_followed(data, position, header):
        return None
    run = Run(position, position, header)
    promised = _read_length(data, position, header)
    if promised is not None:
        run.promised = promised or None
        run.end = position + header.size
        run.start = position if promised else run.end
    known: dict[bytes, Header | None] = {}  # the same few headers come again and again
    end, size, mark_at = run.end, len(data), _mark_at(header)
    while end + 4 <= size:
        head = data[end : end + 4]
        following = known[head] if head in known else known.setdefault(head, read_header(head))
        if following is None or following.kind != header.kind:
            break
        if end + following.size > size:
            raise InputError(
                f"{path}: truncated: its last frame is cut at byte {size:,}; get it again, or, if there is no more "
                "of it, convert it to wav"
            )
        if end + mark_at in marks and run.num_frames:
            break
        run.varies = run.varies or following.bit_rate != header.bit_rate
        run.num_frames += 1
        end += following.size
    run.end = end
    return run if run.num_frames else None


def _find_marks(data: mmap.mmap | bytes) -> frozenset[int]:
    """Find the places of all marks of length frames, and of those that look like one by chance."""
    found = set()
    for mark in LENGTH_MARKS:
        position = data.find(mark)
        while position != -1:
            found.add(position)
            position = data.find(mark, position + 1)
    return frozenset(found)


def _mark_at(header: Header) -> int:
    """Where a length frame of this kind has its mark: after the header and the side information."""
    version, _, _, is_mono = header.kind
    return 4 + ((17 if is_mono else 32) if version == 3 else (9 if is_mono else 17))


def _read_length(data: mmap.mmap | bytes, position: int, header: Header) -> int | None:
    """Read how many frames follow a length frame: None if it is none, 0 if it does not say."""
    at = position + _mark_at(header)
    if data[at : at + 4] in LENGTH_MARKS:
        has_frames = int.from_bytes(data[at + 4 : at + 8], "big") & HAS_FRAMES
        return int.from_bytes(data[at + 8 : at + 12], "big") if has_frames else 0
    is_other = data[position + OTHER_MARK_AT : position + OTHER_MARK_AT + 4] == OTHER_MARK
    return 0 if is_other else None


def _is_followed(data: mmap.mmap | bytes, position: int, header: Header) -> bool:
    """Whether a frame of the same kind, a tag or the end comes after a frame; two bytes alone are there by chance."""
    after = position + header.size
    following = read_header(data[after : after + 4])
    if following is not None:
        return following.kind == header.kind
    return after == len(data) or _skip_tag(data, after) > after


def _skip_tag(data: mmap.mmap | bytes, position: int) -> int:
    """Give the first byte after a tag at a position; the position itself if there is none."""
    head = data[position : position + APE_BYTES]
    if head[:3] == b"ID3":
        return skip_id3(data, position)
    if head[:8] == APE_MARK and len(head) == APE_BYTES:
        is_header = head[23] & 0x20
        return min(len(data), position + APE_BYTES + (int.from_bytes(head[12:16], "little") if is_header else 0))
    return min(len(data), position + ID3V1_BYTES) if head[:3] == b"TAG" else position


def _find_frame(data: mmap.mmap | bytes, position: int) -> int:
    """Find the next frame or tag; the end if there is none."""
    for found in CANDIDATE.finditer(data, position):
        at = found.start()
        header = read_header(data[at : at + 4])
        if _skip_tag(data, at) > at or (header is not None and _is_followed(data, at, header)):
            return at
    return len(data)


def _as_part(path: Path, data: mmap.mmap | bytes, run: Run) -> Part:
    """Make a part of a run; where bit rates differ and no length frame says so, one is put before it."""
    samples, rate, after = run.num_frames * run.header.samples, run.header.kind[2], run.start
    if run.promised is not None:
        if run.promised == run.num_frames:
            return Part(run.start, run.end)
        if run.promised > run.num_frames + 1:  # some encoders count the length frame
            raise InputError(
                f"{path}: truncated: its header promises {run.promised * run.header.samples / rate:.2f} s, "
                f"{samples / rate:.2f} s are there; get it again"
            )
        after += run.header.size
    if not run.varies:
        return Part(after, run.end, samples=(samples, rate))
    return Part(after, run.end, prefix=_length_frame(data[after : after + 4], run.num_frames, run.end - after))


def _length_frame(head: bytes, num_frames: int, num_bytes: int) -> bytes:
    """Make a frame that says how many follow, with the header of one of them."""
    frame = bytearray(head)
    frame[1] |= 1  # no checksum
    for bit_rate in range(1, 15):
        frame[2] = bit_rate << 4 | head[2] & 0x0C
        header = read_header(bytes(frame))
        if header is not None and header.size >= _mark_at(header) + 16:  # mark, flags, two numbers
            break
    assert header is not None  # it is that of a frame, with another bit rate
    mark_at = _mark_at(header)
    frame += bytes(mark_at - 4) + LENGTH_MARKS[0] + (HAS_FRAMES | HAS_BYTES).to_bytes(4, "big")
    frame += num_frames.to_bytes(4, "big") + (num_bytes + header.size).to_bytes(4, "big")
    return bytes(frame + bytes(header.size - len(frame)))
