"""Parts of a recording's file: bytes -> ranges that libsndfile decodes, each with a repaired header where it needs one.

A file has several parts where recordings were joined. One header may say nothing or something wrong about the length;
the right number is then put over it as the bytes are read. The file itself stays as it is.
"""

from __future__ import annotations

import io
import math
import mmap
import re
from dataclasses import dataclass
from pathlib import Path

import soundfile

from speechllama.faults import InputError

ID3V1_BYTES = 128  # a tag at the end of a file, "TAG" and fixed fields
NIST_SIZES = (b"sample_count", b"channel_count", b"sample_n_bytes")
NEAR_BYTES = 1 << 16
# Programs that cannot know a size yet write 2 or 4 GiB less a little: SoX 0x7ffff000, recorders 0x80000000.
UNKNOWN_SIZES = (1 << 31, 1 << 32, 1 << 63, 1 << 64)


@dataclass(frozen=True)
class Part:
    """A range of bytes that is a recording of its own.

    Attributes:
        start: Its first byte.
        end: The byte after its last.
        patches: What stands at some offsets from the start instead of the file's bytes.
        prefix: Bytes that come before those of the file.
        samples: Samples a channel and rate in hertz, where they are known without libsndfile.
        remark: What is unusual about it, for the user; "" if nothing.
    """

    start: int
    end: int
    patches: tuple[tuple[int, bytes], ...] = ()
    prefix: bytes = b""
    samples: tuple[int, int] | None = None
    remark: str = ""


class PartStream(io.RawIOBase):
    """The bytes of a part, as an open file.

    Args:
        path: The file.
        part: What of it.
    """

    def __init__(self, path: Path, part: Part) -> None:
        self._file, self._part, self._position = path.open("rb"), part, 0
        self._size = len(part.prefix) + part.end - part.start

    def readable(self) -> bool:
        """Say yes."""
        return True

    def seekable(self) -> bool:
        """Say yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go to a byte of the part."""
        self._position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        return self._position

    def tell(self) -> int:
        """Say where the next byte is read."""
        return self._position

    def readinto(self, buffer: bytearray | memoryview) -> int:  # type: ignore[override]  # what RawIOBase calls it with
        """Fill a buffer, with the patches in place; 0 at the end."""
        part, begin = self._part, self._position
        count = max(0, min(len(buffer), self._size - begin))
        shift = len(part.prefix)
        head = part.prefix[begin : begin + count]
        self._file.seek(part.start + max(0, begin - shift))
        data = bytearray(head + self._file.read(count - len(head)))
        for offset, patch in part.patches:
            for index, value in enumerate(patch, offset + shift - begin):
                if 0 <= index < len(data):
                    data[index] = value
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


def file_state(path: Path) -> tuple[int, int, int, int]:
    """What is another one when a file has changed, or another file has its name: /dev/fd/5 may be any."""
    state = path.stat()
    return state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns


def open_part(path: Path, part: Part) -> soundfile.SoundFile:
    """Open a part for decoding; a file that is one sound part is read by libsndfile itself."""
    is_whole = (part.start, part.end) == (0, path.stat().st_size)
    if is_whole and not part.patches and not part.prefix:
        return soundfile.SoundFile(str(path))
    return soundfile.SoundFile(io.BufferedReader(PartStream(path, part)))


def is_unknown(size: int) -> bool:
    """Whether a size in a header is one that programs write for "not known yet"; 0 is left to the caller."""
    return any(abs(size - mark) <= NEAR_BYTES for mark in UNKNOWN_SIZES)


def skip_id3(data: mmap.mmap | bytes, position: int) -> int:
    """Give the first byte after the ID3v2 tags at a position; the size of a tag is four 7-bit bytes."""
    while data[position : position + 3] == b"ID3" and len(data) >= position + 10:
        size = 0
        for byte in data[position + 6 : position + 10]:
            size = size << 7 | byte & 0x7F
        footer = 10 if data[position + 5] & 0x10 else 0
        position += 10 + size + footer
    return min(position, len(data))


def without_id3v1(data: mmap.mmap | bytes, end: int) -> int:
    """Give the end of a range without the ID3v1 tag there."""
    start = end - ID3V1_BYTES
    return start if start > 0 and data[start : start + 3] == b"TAG" else end


def check_plain(path: Path, data: mmap.mmap | bytes) -> None:
    """Refuse an AIFF, AU, W64 or NIST file that has fewer bytes than its header says; libsndfile takes what is there.

    Raises:
        ValueError: It is truncated.
    """
    promised = 0
    if data[:4] == b"FORM":
        promised = 8 + int.from_bytes(data[4:8], "big")
    elif data[:4] == b".snd":
        promised = int.from_bytes(data[4:8], "big") + int.from_bytes(data[8:12], "big")
    elif data[:4] == b"riff":
        promised = int.from_bytes(data[16:24], "little")
    elif nist := re.match(rb"NIST_1A\s+(\d+)", data[:32]):
        fields = dict(re.findall(rb"(\w+) -i (\d+)", data[:1024]))
        promised = math.prod(int(fields.get(name, 0)) for name in NIST_SIZES) + int(nist[1])
    if promised > len(data) + 1 and not is_unknown(promised):
        raise InputError(
            f"{path}: truncated: its header promises {promised:,} bytes, found {len(data):,}; get it again"
        )
