"""A training that resumes keeps its settings: those of config.yaml against those of the command.

settings recorded, settings given -> nothing, or those that differ

Weights and the optimizer's state come from the checkpoint; with other settings they would be mixed silently, and
config.yaml would record what never was.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from speechllama.faults import InputError, first_ten
from speechllama.model.build import CONFIG_FILE, read_settings
from speechllama.model.old_settings import upgrade_settings
from speechllama.train.recovery import CHECKPOINT, PREVIOUS
from speechllama.train.resume import INTERRUPTED

# What says how, where and how long a training runs, not what is trained. Data and bases are compared elsewhere, by
# their content: batches by `EpochInFlight`, LLM and encoder by the fingerprint in each checkpoint. Smaller batches may
# follow when memory has run out; an epoch that was in flight then starts again, with a warning.
MAY_CHANGE = (
    *("max_epoch", "patience", "num_workers", "ngpu", "save_minutes", "resume", "config", "conf_path", "output_dir"),
    *("batch_bins", "batch_size"),
    *("keep_nbest_models", "best_model_criterion", "early_stopping_criterion", "nbest_averaging_interval"),
    *("log_level", "log_interval", "print_config", "dry_run", "required", "version", "drop_last_iter"),
    *("num_att_plot", "use_matplotlib", "use_tensorboard", "create_graph_in_tensorboard", "detect_anomaly"),
    *("multiprocessing_distributed", "distributed", "unused_parameters", "sharded_ddp", "ddp_comm_hook"),
    *("valid_batch_size", "valid_batch_bins", "valid_batch_type", "valid_max_cache_size", "max_cache_size"),
    *("max_cache_fd", "allow_multi_rates", "chunk_length", "chunk_shift_ratio", "num_cache_chunks"),
    *("llm_dir", "ctc_dir", "cmvn_file", "tokenizer", "centroids_file", "init_from", "init_system", "scratch_llm"),
    "init_adapter",  # its weights are in the checkpoint, and its fingerprint is compared
    *("collect_stats", "write_collected_feats", "pretrain_path", "init_param", "ctc_units", "target_units"),
)
BEGINNINGS = ("dist_", "wandb", "use_wandb", "cudnn_", "train_data_", "valid_data_", "train_shape", "valid_shape")


def recorded_settings(args: argparse.Namespace) -> dict[str, Any]:
    """The settings of the training that a command would resume; {} where it starts anew."""
    folder = Path(args.output_dir)
    has_state = any((folder / name).is_file() for name in (CHECKPOINT, PREVIOUS, INTERRUPTED))
    return read_settings(folder) if args.resume and has_state and (folder / CONFIG_FILE).is_file() else {}


def check_same_settings(args: argparse.Namespace) -> None:
    """Refuse to resume with other settings.

    Args:
        args: The settings of a training, as config.yaml will record them.

    Raises:
        ValueError: Settings differ, all of them are named with both values.
    """
    recorded = recorded_settings(args)
    if not recorded:
        return
    before, now = (dict(_leaves(_plain(settings))) for settings in (recorded, upgrade_settings(vars(args))))
    # One that only one side has came or went with a release of ours or of ESPnet's.
    differing = [name for name in now if name in before and before[name] != now[name]]
    if differing:
        shown = first_ten([f"{': '.join(name)}: {before[name]!r}, now {now[name]!r}" for name in differing])
        raise InputError(
            f"{args.output_dir}: a training with other settings began here, and cannot be resumed with these; give it "
            "its own settings again, or start another one: in another --output_dir (--tag of a recipe), or here with "
            f"--resume false, which overwrites it:{shown}"
        )


def _plain(settings: Mapping[str, Any]) -> Any:
    """As YAML gives settings back: tuples are lists."""
    return json.loads(json.dumps(dict(settings), default=str))


def _leaves(settings: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Each setting with the names that lead to it."""
    for name, value in settings.items():
        if not above and (name in MAY_CHANGE or name.startswith(BEGINNINGS)):
            continue
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, name))
        else:
            yield (*above, name), value
