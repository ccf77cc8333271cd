"""Download files over HTTP, resumable: a file is there whole and checked, or not at all."""

from __future__ import annotations

import http.client
import logging
import os
import re
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

from speechllama.faults import InputError, MissingFileError
from speechllama.files import read_json, write_json

NUM_ATTEMPTS = 5
TIMEOUT_SECONDS = 60
BLOCK_BYTES = 1 << 18


class _Interrupted(Exception):
    """The connection ended early; what has arrived is kept."""


def is_url(place: str) -> bool:
    """Say whether a place is a URL rather than a path."""
    return re.match(r"https?://", place) is not None


def fetch(url: str, path: Path, check: Callable[[Path], None], wait_seconds: float = 2.0) -> None:
    """Download a file; one that is there and passes the check is kept.

    What has arrived is in `<path>.part`, next to what tells a changed file on the server (`<path>.part.json`).

    Args:
        url: Where the file is.
        path: Where it goes.
        check: Raises ValueError if a file is not what was expected.
        wait_seconds: Before the second attempt; doubles with each further one.

    Raises:
        FileNotFoundError: The server has no such file.
        ValueError: What arrived is not what was expected, or the server does not answer.
    """
    if path.is_file():
        check(path)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f"{path.name}.part")
    for attempt in range(1, NUM_ATTEMPTS + 1):
        try:
            _receive(url, part)
            break
        except (_Interrupted, urllib.error.URLError, http.client.HTTPException, OSError) as error:
            if isinstance(error, urllib.error.HTTPError) and error.code < 500:
                if error.code in (404, 410):
                    raise MissingFileError(f"{url}: the server has no such file ({error.code})") from error
                raise InputError(f"{url}: the server refuses ({error.code} {error.reason})") from error
            if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
                raise  # of this machine, not of the network: a full disk, a folder that may not be written
            if attempt == NUM_ATTEMPTS:
                raise InputError(f"{url}: {error}; {NUM_ATTEMPTS} attempts; the same command resumes later") from error
            logging.warning("%s: %s; attempt %d of %d follows", url, error, attempt + 1, NUM_ATTEMPTS)
            time.sleep(wait_seconds * 2 ** (attempt - 1))
    try:
        check(part)
    except ValueError as error:
        part.unlink()
        raise InputError(f"{url}: what arrived is not what was expected, and was deleted: {error}") from error
    os.replace(part, path)
    _note_path(part).unlink(missing_ok=True)


def _note_path(part: Path) -> Path:
    return part.with_name(f"{part.name}.json")


def _receive(url: str, part: Path) -> None:
    """Fetch the rest of a file, or all of it where the server cannot give a rest or has another file by now."""
    have = part.stat().st_size if part.is_file() else 0
    note = read_json(_note_path(part)) if have and _note_path(part).is_file() else {}
    if note.get("url") != url or not note.get("validator"):
        have = 0
    request = urllib.request.Request(url)
    if have:
        request.add_header("Range", f"bytes={have}-")
        request.add_header("If-Range", note["validator"])
    try:
        response = urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        if error.code == 416 and error.headers.get("Content-Range") == f"bytes */{have}":
            return  # all of it had arrived
        if error.code == 416:
            part.unlink()
            raise _Interrupted("the server's file is shorter than what had arrived; starting again") from error
        raise
    with response:
        if response.status != 206:
            have = 0
        validator = response.headers.get("ETag") or response.headers.get("Last-Modified") or ""
        write_json(_note_path(part), {"url": url, "validator": "" if validator.startswith("W/") else validator})
        length = response.headers.get("Content-Length")
        logging.info("%s: %s of %s bytes are here", url, f"{have:,}", f"{have + int(length):,}" if length else "?")
        arrived = 0
        with part.open("ab" if have else "wb") as stream:
            while block := response.read(BLOCK_BYTES):
                stream.write(block)
                arrived += len(block)
    if length is not None and arrived != int(length):
        raise _Interrupted(f"{arrived:,} of {int(length):,} bytes arrived, then the connection ended")
