"""Recordings that a browser sends: in a folder of this process, deleted with the request, and all of it at the end.

private_folder(): /tmp/speechllama_page_x/<hash>/clip.mp3 -> nothing

Each upload has a folder of its own, so that the request that names it can delete it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

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


def separate_uploads(routes: Any) -> None:
    """Let gradio put each upload into another folder.

    It names the folder by the content. So equal files of two sessions would be one, and the answer to the first session
    would delete what the second, which waits for its turn, has sent.

    Args:
        routes: gradio's module `route_utils`, whose class of an uploaded file is replaced by one that differs in
            nothing but the folder. The class is gradio's own: a release without it keeps one folder for equal files.
    """
    shared: Any = getattr(routes, "GradioUploadFile", None)
    if shared is None or getattr(shared, "is_separate", False):
        return

    class SeparateUpload(shared):
        is_separate = True

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.sha.update(secrets.token_bytes(16))  # the hash that will be the folder's name

    routes.GradioUploadFile = SeparateUpload


def forget(path: str | Path, folder: Path) -> None:
    """Delete an uploaded recording with the folder that gradio made for it; what is elsewhere stays."""
    place = Path(path).resolve().parent
    if place != folder.resolve() and place.is_relative_to(folder.resolve()):
        shutil.rmtree(place, ignore_errors=True)
