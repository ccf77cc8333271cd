"""A GPU that is not there."""

from __future__ import annotations

from collections import namedtuple
from collections.abc import Callable

import pytest
import torch


@pytest.fixture
def install_card(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
    """Make torch find one GPU with that many bytes of memory."""
    card = namedtuple("card", "total_memory")

    def install(total: float) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: card(total))

    return install
