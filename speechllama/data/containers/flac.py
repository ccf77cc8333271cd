"""FLAC: its header and its last frame -> parts; a length that the header lacks is that of the frames.

A frame's header has its number, so the last one says how long the recording is. Source: RFC 9639, sections 8.2 and 9.1.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from speechllama.data.containers.parts import Part, without_id3v1
from speechllama.faults import InputError

MAGIC = b"fLaC"
MARK = MAGIC + b"\x00\x00\x00\x22"  # with the head of STREAMINFO, which no frame of samples has by chance
INFO_BYTES = 34  # of the block STREAMINFO, the first one
TOTAL_AT = 21  # from the magic: 4 bits of the byte there and the 4 after it are the number of samples
HEADER_BYTES = 16  # of a frame, at most
LARGEST_FRAME = 1 << 20  # in bytes, where the header does not say
NUM_CHECKED = 4  # headers from the end on; the last is by chance at times, more than that never
JOINED_SHARE = 0.85  # frames of a sound file that are on average this long as the longest one hint at a second file


@dataclass(frozen=True)
class Info:
    """What STREAMINFO says.

    Attributes:
        block: Samples of a frame.
        largest_frame: In bytes; 0 if not known.
        rate: In hertz.
        total: Samples of the recording; 0 if not known.
    """

    block: int
    largest_frame: int
    rate: int
    total: int


@dataclass(frozen=True)
class Frame:
    """The header of a frame: its first byte, and the samples before and after it."""

    position: int
    first: int
    until: int


def flac_parts(path: Path, data: mmap.mmap | bytes, start: int, end: int | None = None) -> list[Part]:
    """Check the length in the header against the last frame, and measure it where they differ.

    Args:
        path: The file, for messages.
        data: Its bytes.
        start: Where it begins, after a tag.
        end: Where it ends, if another one follows.

    Raises:
        ValueError: It is truncated.
    """
    end = len(data) if end is None else end
    info = read_info(path, data, start)
    until = without_id3v1(data, end)
    window = (info.largest_frame or LARGEST_FRAME) + HEADER_BYTES
    tail = max(start + len(MARK) + INFO_BYTES, until - window)
    is_right = bool(info.total) and any(frame.until == info.total for frame in find_frames(data, info, tail, until))
    if is_right and not _may_be_joined(info, end - start):
        return [Part(start, end)]
    following = data.find(MARK, start + 1, end)
    if following != -1:
        return [*flac_parts(path, data, start, following), *flac_parts(path, data, following, end)]
    if is_right:
        return [Part(start, end)]
    return [_measure(path, data, Part(start, until), info, list(find_frames(data, info, tail, until)))]


def read_info(path: Path, data: mmap.mmap | bytes, start: int) -> Info:
    """Read STREAMINFO.

    Raises:
        ValueError: The file ends before, or another block is first.
    """
    block = data[start + 8 : start + 8 + INFO_BYTES]
    if data[start : start + 8] != MARK or len(block) < INFO_BYTES:
        raise InputError(f"{path}: truncated or damaged: a FLAC file without its first block; get it again")
    numbers = int.from_bytes(block[10:18], "big")  # 20 bits rate, 3 channels - 1, 5 bits a sample - 1, 36 samples
    return Info(
        int.from_bytes(block[2:4], "big"),
        int.from_bytes(block[7:10], "big"),
        numbers >> 44,
        numbers & (1 << 36) - 1,
    )


def find_frames(data: mmap.mmap | bytes, info: Info, start: int, end: int) -> Iterator[Frame]:
    """Find headers of frames between two bytes, the last one first; one in some thousand is there by chance."""
    position = data.rfind(b"\xff", start, end)
    while position != -1:
        frame = _read_frame(data[position : position + HEADER_BYTES], position, info)
        if frame is not None:
            yield frame
        position = data.rfind(b"\xff", start, position)


def _read_frame(head: bytes, position: int, info: Info) -> Frame | None:
    """Read a frame's header, if there is one: sync, codes of block and rate, its number, and their checksum."""
    if len(head) < 7 or head[1] not in (0xF8, 0xF9) or head[3] & 1 or head[3] >> 4 > 10:
        return None
    block_code, rate_code = head[2] >> 4, head[2] & 15
    width = 8 - (head[4] ^ 0xFF).bit_length()  # leading ones of the number, which is written as UTF-8 is
    width = width or 1
    tail = 4 + width
    extra = {6: 1, 7: 2}.get(block_code, 0)
    until = tail + extra + {12: 1, 13: 2, 14: 2}.get(rate_code, 0)
    if block_code == 0 or rate_code == 15 or width > 7 or until >= len(head) or _crc8(head[:until]) != head[until]:
        return None
    number = head[4] & (0x7F >> width if width > 1 else 0x7F)
    for byte in head[5:tail]:
        number = number << 6 | byte & 0x3F
    block = int.from_bytes(head[tail : tail + extra], "big") + 1 if extra else _block_size(block_code)
    first = number if head[1] == 0xF9 else number * info.block
    return Frame(position, first, first + block)


def _block_size(code: int) -> int:
    """Samples of a frame by the code in its header."""
    return 192 if code == 1 else 576 << code - 2 if code <= 5 else 256 << code - 8


def _measure(path: Path, data: mmap.mmap | bytes, part: Part, info: Info, frames: list[Frame]) -> Part:
    """Give a part the length of its frames.

    An incomplete last frame is dropped where the header had no length: its recorder was stopped.
    """
    end = part.end
    whole = next((frame for frame in frames[:NUM_CHECKED] if _crc16(data[frame.position : end]) == 0), None)
    if whole is not None:
        total = whole.until
    elif frames and not info.total:
        total, end = frames[0].first, frames[0].position
    else:
        found = f"{frames[0].first / info.rate:.2f} s are whole" if frames and info.rate else "no frame was found"
        raise InputError(f"{path}: truncated: its header promises {info.total:,} samples, {found}; get it again")
    if info.total > total:
        raise InputError(
            f"{path}: truncated, or its header is wrong: it promises {info.total:,} samples, the last frame ends with "
            f"sample {total:,}; get it again"
        )
    if not total:
        raise InputError(f"{path}: holds no sample")
    patch = bytes([data[part.start + TOTAL_AT] & 0xF0 | total >> 32]) + (total & 0xFFFFFFFF).to_bytes(4, "big")
    return Part(part.start, end, ((TOTAL_AT, patch),))


def _may_be_joined(info: Info, size: int) -> bool:
    """Whether a file has more bytes than its frames should need; a second one of the same length looks like that."""
    num_frames = -(-info.total // max(1, info.block))
    return bool(info.total) and size > JOINED_SHARE * num_frames * info.largest_frame


def _table(polynomial: int, width: int) -> list[int]:
    table = []
    for byte in range(256):
        value = byte << width - 8
        for _ in range(8):
            value = value << 1 ^ (polynomial if value >> width - 1 & 1 else 0)
        table.append(value & (1 << width) - 1)
    return table


_CRC8, _CRC16 = _table(0x107, 8), _table(0x18005, 16)


def _crc8(data: bytes) -> int:
    value = 0
    for byte in data:
        value = _CRC8[value ^ byte]
    return value


def _crc16(data: bytes) -> int:
    """Checksum of a frame; 0 if the two bytes at the end are that of those before."""
    value = 0
    for byte in data:
        value = (value << 8 & 0xFF00) ^ _CRC16[value >> 8 ^ byte]
    return value
