"""What config.yaml records of the features that a network reads.

frontend.json next to the training data -> settings of the training
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from speechllama.frontend.front_ends import FeatureFormat, read_format


def record_features(args: argparse.Namespace, features: FeatureFormat | None = None) -> FeatureFormat:
    """Put the format of the features into the settings, for config.yaml.

    Args:
        args: The settings of a training.
        features: The format; None: what frontend.json says next to the training set's `speech`.

    Returns:
        The format.
    """
    if features is None:
        folders = [Path(path).parent for path, name, _ in args.train_data_path_and_name_and_type if name == "speech"]
        features = read_format(folders[0]) if folders else FeatureFormat()
    vars(args).update(dataclasses.asdict(features))
    return features
