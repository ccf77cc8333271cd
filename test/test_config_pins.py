"""The merged settings of every config of every recipe, which must stay as they are when files are rearranged.

    test/pins/configs.json    "<recipe> [<size>] <config>" -> settings, a line each

To write them anew, then to see what is different:

    WRITE_PINS=1 python3 -m pytest test/test_config_pins.py
    git diff test/pins/configs.json

Pinned is what a run reads by name, not the files that only others include. A commit that changes a schedule changes its
line here; one that only moves settings between files changes none. Changed on purpose since the first pins:

* `num_clusters: 500` of u and u_frozen became `compressor_conf: {num_clusters: 500}`;
* e0, d and d_causal got `freeze_encoder: false`.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from test.recipe_configs import load

PATH = Path(__file__).parent / "pins" / "configs.json"
PINS: dict[str, dict[str, Any]] = json.loads(PATH.read_text(encoding="utf-8"))


def split(pin: str) -> tuple[str, str, str]:
    """Split "<recipe> [<size>] <config>"."""
    recipe, *size, name = pin.split()
    return recipe, "".join(size), name


def test_every_config_merges_to_its_pinned_settings() -> None:
    found = {pin: load(*split(pin)).settings for pin in PINS}
    if os.environ.get("WRITE_PINS"):
        lines = (f"{json.dumps(pin)}: {json.dumps(settings, sort_keys=True)}" for pin, settings in found.items())
        PATH.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
        return
    for pin, settings in found.items():
        assert settings == PINS[pin], pin
    assert len(found) == 134
