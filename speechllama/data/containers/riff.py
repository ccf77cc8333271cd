"""WAV and its kin (RIFF, RIFX, RF64, BW64, extensible): chunks -> parts, with sizes that a pipe left open filled in."""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from speechllama.data.containers.parts import ID3V1_BYTES, Part, is_unknown
from speechllama.faults import InputError

FORMS = (b"RIFF", b"RIFX", b"RF64", b"BW64")
FORM_BYTES = 12  # form, size, "WAVE"
MAX_SIZE = 0xFFFFFFFF
IGNORED_BYTES = 16  # after the last chunk; some programs leave a few
Order = Literal["little", "big"]


@dataclass(frozen=True)
class Data:
    """Where the samples of a WAV are.

    Attributes:
        start: Their first byte.
        size: How many bytes the header promises.
        size_at: Where the header says so.
        size_width: Bytes of that number: 4, or 8 in the chunk ds64.
    """

    start: int
    size: int
    size_at: int
    size_width: int = 4


def is_riff(data: mmap.mmap | bytes, position: int = 0) -> bool:
    """Whether a WAV begins here."""
    return data[position : position + 4] in FORMS and data[position + 8 : position + 12] == b"WAVE"


def riff_parts(path: Path, data: mmap.mmap | bytes) -> list[Part]:
    """Find the WAV, or those that were joined, each to the end of its samples or chunks.

    A size of samples that is not known (0, or near 2 or 4 GiB with less in the file) means: to the end of the file.

    Raises:
        ValueError: It is truncated, or more follows than its header counts.
    """
    parts, position = [], 0
    while position < len(data) and is_riff(data, position):
        part = _read_part(path, data, position)
        parts.append(part)
        position = part.end
    return parts


def _read_part(path: Path, data: mmap.mmap | bytes, start: int) -> Part:
    order: Order = "big" if data[start : start + 4] == b"RIFX" else "little"
    found = _find_data(data, start, order)
    if found is None:
        return Part(start, len(data))  # libsndfile says what is missing
    form_at = found.size_at - 8 if found.size_width == 8 else start + 4
    promised = int.from_bytes(data[form_at : form_at + found.size_width], order) + 8
    is_open = found.size == 0 and start + promised <= found.start and len(data) > found.start
    if is_open or (found.start + found.size > len(data) and is_unknown(found.size)):
        return _filled_in(data, start, found, order)
    if found.start + found.size > len(data):
        raise InputError(
            f"{path}: truncated: its header promises {found.size:,} bytes of samples, found "
            f"{len(data) - found.start:,}; get it again"
        )
    end = _find_end(data, found.start + found.size, found.size % 2, order)
    rest = len(data) - end
    if rest and not is_riff(data, end) and not _is_harmless(data, end):
        raise InputError(
            f"{path}: {rest:,} bytes follow after the samples that its header counts; the header is wrong, or files of "
            "different kinds were joined: write it again"
        )
    end = end if is_riff(data, end) else len(data)
    return Part(start, end, _renamed(data, start))


def _find_data(data: mmap.mmap | bytes, start: int, order: Order) -> Data | None:
    """Go from chunk to chunk until the samples; ds64 has the sizes that do not fit into four bytes."""
    position, long_size = start + FORM_BYTES, None
    while position + 8 <= len(data):
        name, size = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], order)
        if name == b"data":
            if long_size is not None and size == MAX_SIZE:
                return Data(position + 8, int.from_bytes(data[long_size : long_size + 8], "little"), long_size, 8)
            return Data(position + 8, size, position + 4)
        if name == b"ds64":
            long_size = position + 16
        position += 8 + size + size % 2
    return None


def _filled_in(data: mmap.mmap | bytes, start: int, found: Data, order: Order) -> Part:
    """Take the samples to the end of the file, or to the next WAV, and write the sizes that the header lacks."""
    end = len(data)
    following = data.find(b"WAVEfmt ", found.start)
    while following != -1:
        if is_riff(data, following - 8):
            end = following - 8
            break
        following = data.find(b"WAVEfmt ", following + 1)
    size = end - found.start
    if found.size_width == 8:
        form_at, form_size = found.size_at - 8, (end - start - 8).to_bytes(8, "little")
        samples_at = found.size_at + 8  # of ds64: their number, which libsndfile counts itself
        patches = [(form_at, form_size), (found.size_at, size.to_bytes(8, "little")), (samples_at, bytes(8))]
    else:
        form_size = min(end - start - 8, MAX_SIZE).to_bytes(4, order)
        patches = [(start + 4, form_size), (found.size_at, min(size, MAX_SIZE).to_bytes(4, order))]
    return Part(start, end, (*((at - start, patch) for at, patch in patches), *_renamed(data, start)))


def _renamed(data: mmap.mmap | bytes, start: int) -> tuple[tuple[int, bytes], ...]:
    """BW64 (ITU-R BS.2088) is RF64 with another name, which libsndfile does not know."""
    return ((0, b"RF64"),) if data[start : start + 4] == b"BW64" else ()


def _find_end(data: mmap.mmap | bytes, position: int, pad: int, order: Order) -> int:
    """Give the first byte after the chunks that follow the samples; the pad byte of an odd number may lack."""
    if pad and not _is_chunk(data, position, order) and not is_riff(data, position):
        position = min(position + 1, len(data))
    while _is_chunk(data, position, order) and not is_riff(data, position):
        size = int.from_bytes(data[position + 4 : position + 8], order)
        position = min(position + 8 + size + size % 2, len(data))
    return position


def _is_chunk(data: mmap.mmap | bytes, position: int, order: Order) -> bool:
    head = data[position : position + 8]
    is_name = len(head) == 8 and all(0x20 <= byte < 0x7F for byte in head[:4])
    return is_name and position + 8 + int.from_bytes(head[4:], order) <= len(data)


def _is_harmless(data: mmap.mmap | bytes, position: int) -> bool:
    """Whether what follows holds no samples: a tag, a few bytes, or zeros to the end of a block."""
    rest = len(data) - position
    is_tag = rest == ID3V1_BYTES and data[position : position + 3] == b"TAG"
    return rest <= IGNORED_BYTES or is_tag or (rest <= 1 << 20 and not any(data[position:]))
