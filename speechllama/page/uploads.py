"""Recordings that a browser sends: in a folder of this process, deleted with the request, and all of it at the end.

private_folder(): /tmp/speechllama_page_x/<hash>/clip.mp3 -> nothing
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PREFIX = "speechllama_page_"
UPLOADS = "GRADIO_TEMP_DIR"  # the variable that tells gradio where uploads go


@contextmanager
def private_folder() -> Iterator[Path]:
    """Make a folder that only this user can read, in which gradio and all temporary files of this process are.

    Yields:
        The folder, which is gone afterwards.
    """
    folder = Path(tempfile.mkdtemp(prefix=PREFIX))
    before, usual = os.environ.get(UPLOADS), tempfile.tempdir
    os.environ[UPLOADS], tempfile.tempdir = str(folder), str(folder)
    try:
        yield folder
    finally:
        tempfile.tempdir = usual
        if before is None:
            del os.environ[UPLOADS]
        else:
            os.environ[UPLOADS] = before
        shutil.rmtree(folder, ignore_errors=True)


def forget(path: str | Path, folder: Path) -> None:
    """Delete an uploaded recording with the folder that gradio made for it; what is elsewhere stays."""
    place = Path(path).resolve().parent
    if place != folder.resolve() and place.is_relative_to(folder.resolve()):
        shutil.rmtree(place, ignore_errors=True)
