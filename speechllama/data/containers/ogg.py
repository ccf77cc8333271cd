"""Ogg (Opus, Vorbis): pages -> parts, one for each recording of a chain."""

from __future__ import annotations

import mmap
from pathlib import Path

from speechllama.data.containers.parts import Part
from speechllama.faults import InputError

MAGIC = b"OggS"
HEADER_BYTES = 27  # before the table of segments
BEGINS, ENDS = 2, 4  # flags of the first and the last page of a recording
CODECS = (b"OpusHead", b"\x01vorbis")  # at the beginning of the first packet
NO_END = "it ends without its end mark: its recorder was stopped, or it is truncated"


def is_for_libsndfile(head: bytes) -> bool:
    """Whether libsndfile reads the codec, which the first page names; it does not read FLAC or Speex in Ogg."""
    return any(codec in head for codec in CODECS)


def ogg_parts(path: Path, data: mmap.mmap | bytes, start: int = 0) -> list[Part]:
    """Go from page to page; a first page after others begins the next recording.

    First pages in a row are streams side by side, such as sound and picture.

    Raises:
        ValueError: The last page is cut.
    """
    starts: list[int] = []
    remarks: list[str] = []
    position, flags, is_first = start, ENDS, False
    while position != -1 and position < len(data):
        if data[position : position + 4] != MAGIC:  # a tag, or damaged: libsndfile finds its way too
            position = data.find(MAGIC, position)
            continue
        num_segments = data[position + 26] if position + HEADER_BYTES <= len(data) else 0
        body = position + HEADER_BYTES + num_segments
        end = body + sum(data[body - num_segments : body])
        if end > len(data) or position + HEADER_BYTES > len(data):
            raise InputError(f"{path}: truncated: its last page is cut at byte {len(data):,}; get it again")
        begins = bool(data[position + 5] & BEGINS)
        if not starts or (begins and not is_first):
            remarks += ["" if flags & ENDS else NO_END] if starts else []
            starts.append(position)
        is_first, flags, position = begins, data[position + 5], end
    remarks.append("" if flags & ENDS else NO_END)
    ends = [*starts[1:], len(data)]
    return [Part(first, last, remark=remark) for first, last, remark in zip(starts, ends, remarks, strict=True)]
