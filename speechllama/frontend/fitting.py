"""Whether features are those that a network learned from.

frontend.json of a data directory, format in the network's config.yaml -> nothing, or what differs
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from speechllama.constants import DEFAULT_FRONT_END
from speechllama.faults import InputError, first_ten
from speechllama.frontend.feature_format import FeatureFormat, read_format
from speechllama.frontend.front_ends import choose_front_end

# Settings that say where weights are, how states are stored and how long recordings are cut, not what the states are.
NOT_COMPARED = ("path", "revision", "dtype", "storage", "window", "overlap", "ctc_head")


def check_features(data_dir: str | Path, expected: FeatureFormat, owner: str) -> None:
    """Refuse features of another kind: of the same width, they would be read without a word.

    Args:
        data_dir: Data directory with features.
        expected: Those of the network.
        owner: Whose they are, for the message.

    Raises:
        ValueError: They were made by another front end, with other settings or by other weights.
    """
    here, there = _describe(read_format(data_dir)), _describe(expected)
    if not here["weights"]:  # of before they were recorded
        there["weights"] = ""
    differing = [name for name in {**here, **there} if here.get(name) != there.get(name)]
    if differing:
        pairs = [f"{name}: {here.get(name)!r}, expected {there.get(name)!r}" for name in differing]
        raise InputError(
            f"{data_dir}: features of another kind than those that {owner} learned from; make them with its front end, "
            f"or train on these:{first_ten(pairs)}"
        )


def _describe(features: FeatureFormat) -> dict[str, Any]:
    """All that must agree, by its name; settings that a record lacks have their defaults."""
    facts = dataclasses.asdict(features)
    conf = facts.pop("frontend_conf")
    if conf or features.frontend == DEFAULT_FRONT_END:
        conf = choose_front_end(features.frontend, conf).conf()
    return {**facts, **{name: value for name, value in conf.items() if name not in NOT_COMPARED}}
