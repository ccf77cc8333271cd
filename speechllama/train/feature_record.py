"""What config.yaml records of the features that a network reads.

frontend.json next to the training data -> settings of the training
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from speechllama.frontend.feature_format import FeatureFormat, read_format
from speechllama.frontend.fitting import check_features


def record_features(args: argparse.Namespace, features: FeatureFormat | None = None) -> FeatureFormat:
    """Put the format of the features into the settings, for config.yaml.

    Args:
        args: The settings of a training.
        features: That of the trained encoder which reads them; None: what frontend.json says next to the training
            set's `speech`.

    Returns:
        The format.

    Raises:
        ValueError: Features of the training or development set are of another kind.
    """
    tables = [*args.train_data_path_and_name_and_type, *args.valid_data_path_and_name_and_type]
    folders = [Path(path).parent for path, name, _ in tables if name == "speech"]
    owner = str(args.ctc_dir) if features else f"the training set, {folders[0] if folders else ''},"
    if features is None:
        features = read_format(folders[0]) if folders else FeatureFormat()
    for folder in folders:
        check_features(folder, features, owner)
    vars(args).update(dataclasses.asdict(features))
    return features
