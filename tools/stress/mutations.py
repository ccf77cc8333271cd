"""Ways in which a file is damaged, each with a seed.

content (bytes), random numbers -> other content
"""

from __future__ import annotations

import io
import random
import re
import zlib
from collections.abc import Callable

Mutation = Callable[[bytes, random.Random], bytes]
NUMBER = re.compile(rb"(?<![A-Za-z_0-9.])-?\d+(\.\d+)?(?![A-Za-z_0-9.])")
HUGE = (b"1e308", b"-1e308", b"99999999999999999999", b"1e999", b"nan", b"-1", b"0", b"2147483648")
HUGE_BYTES = (b"\xff" * 8, b"\x7f" * 8, b"\x00\x00\xc0\x7f" * 2, b"\x00\x00\x80\x7f" * 2)  # the last two: NaN, infinity


def is_text(content: bytes) -> bool:
    """Whether a file's content is text."""
    try:
        return b"\0" not in content and bool(content.decode("utf-8"))
    except UnicodeDecodeError:
        return False


def flip(content: bytes, draw: random.Random) -> bytes:
    """Change one bit or some bytes; in the beginning, where headers are, as often as anywhere else."""
    changed = bytearray(content)
    for _ in range(draw.choice([1, 3, 30]) if changed else 0):
        end = min(len(changed), draw.choice([64, 1024, len(changed)]))
        place = draw.randrange(end)
        changed[place] ^= 1 << draw.randrange(8)
    return bytes(changed)


def truncate(content: bytes, draw: random.Random) -> bytes:
    """Keep the beginning, as after a full disk or a killed copy."""
    return content[: draw.randrange(1, max(2, len(content)))]


def empty(content: bytes, draw: random.Random) -> bytes:
    """Keep nothing."""
    return b""


def duplicate(content: bytes, draw: random.Random) -> bytes:
    """Repeat a line, at another place; of a binary file, a block."""
    if is_text(content) and b"\n" in content:
        lines = content.splitlines(keepends=True)
        line = draw.choice(lines)
        lines.insert(draw.randrange(len(lines) + 1), line)
        return b"".join(lines)
    start = draw.randrange(max(1, len(content)))
    block = content[start : start + draw.choice([16, 4096])]
    return content[:start] + block + content[start:]


def wrong_type(content: bytes, draw: random.Random) -> bytes:
    """Put the content of another kind of file there."""
    image = b"\x89PNG\r\n\x1a\n" + zlib.compress(bytes(1000))
    page = b"<!DOCTYPE html><html><body>404 Not Found</body></html>\n"
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n"
    return draw.choice([image, page, pointer, b"[1, 2, 3]\n", b"{}\n", b"null\n", b"one two three\n", _arrays()])


def _arrays() -> bytes:
    """A file of NumPy's that holds something else."""
    import numpy as np

    stream = io.BytesIO()
    np.savez(stream, something=np.zeros(3))
    return stream.getvalue()


def other_encoding(content: bytes, draw: random.Random) -> bytes:
    """Write text in another encoding, with a letter that UTF-8 writes otherwise; read bytes as text and write that."""
    text = content.decode("utf-8", errors="replace") if is_text(content) else content.decode("latin-1")
    letters = [place for place, letter in enumerate(text) if letter in "aeou"]
    if is_text(content) and letters:
        place = draw.choice(letters)
        text = f"{text[:place]}ä{text[place + 1 :]}"
    encoding = draw.choice(["latin-1", "utf-16", "cp1252"] if is_text(content) else ["utf-16", "utf-8"])
    return text.encode(encoding, errors="replace")


def bom(content: bytes, draw: random.Random) -> bytes:
    """Put a byte-order mark in front, as some editors do."""
    return b"\xef\xbb\xbf" + content


def nul(content: bytes, draw: random.Random) -> bytes:
    """Put NUL bytes somewhere, as a file system after a crash does."""
    place = draw.randrange(len(content) + 1)
    zeros = bytes(draw.choice([1, 16, 512]))
    is_longer = draw.random() < 0.5
    return content[:place] + zeros + content[place + (0 if is_longer else len(zeros)) :]


def huge(content: bytes, draw: random.Random) -> bytes:
    """Replace a number by an implausible one; in a binary file, bytes that mean such numbers."""
    found = list(NUMBER.finditer(content)) if is_text(content) else []
    if found:
        match = draw.choice(found)
        return content[: match.start()] + draw.choice(HUGE) + content[match.end() :]
    place = draw.randrange(max(1, min(len(content), draw.choice([64, 1024, len(content)]) if content else 1)))
    number = draw.choice(HUGE_BYTES)
    return content[:place] + number + content[place + len(number) :]


MUTATIONS: dict[str, Mutation] = {
    "flip": flip,
    "truncate": truncate,
    "empty": empty,
    "duplicate": duplicate,
    "wrong type": wrong_type,
    "encoding": other_encoding,
    "BOM": bom,
    "NUL": nul,
    "huge": huge,
}
