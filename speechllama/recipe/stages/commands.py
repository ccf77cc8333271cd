"""What the commands of several stages share: YAML files, trainings, data for ESPnet's trainer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from speechllama.options import split_further
from speechllama.recipe.stages.records import Job, module, tables
from speechllama.recipe.system import Config

if TYPE_CHECKING:
    from speechllama.recipe.plan import Plan


def as_seen_here(path: str) -> str:
    """Return a path below the recipe's directory as a relative one."""
    here = f"{Path.cwd()}/"
    return path.removeprefix(here).rstrip("/")


def given(name: str, value: str) -> list[str]:
    """Return an option with its value; nothing if the value is empty."""
    return [f"--{name}", value] if value else []


def config_words(plan: Plan, config: Config) -> list[str]:
    """Return the options that name a YAML and where its includes are looked for."""
    return ["--config", config.path, "--conf_path", plan.folders.conf_path]


def statistics_files(plan: Plan) -> tuple[str, ...]:
    """Return the files of the statistics stage that trainings read."""
    return (plan.layout.cmvn, *(f"{plan.layout.stats_dir}/{name}/speech_shape" for name in ("train", "dev")))


def training_features(plan: Plan) -> tuple[str, ...]:
    """Return the tables that trainings from features read."""
    return tables(map(plan.layout.dump, ("train", "dev")), ("feats.scp", plan.layout.ctc_table))


def trainer(plan: Plan, name: str, config: Config, words: Sequence[str]) -> tuple[str, ...]:
    """Return the command of a training; several GPUs or nodes share it through torchrun."""
    options, entry = plan.options, f"speechllama.bin.{name}"
    command = ["python3", "-m", entry, "--ngpu", str(options.ngpu)]
    if options.num_processes > 1:
        command = ["python3", "-m", "torch.distributed.run", "--nproc_per_node", str(max(1, options.ngpu))]
        # utils/job.sh tells the processes of several nodes where to meet.
        command += ["--nnodes", str(options.num_nodes)] if options.num_nodes > 1 else ["--standalone"]
        command += ["-m", entry, "--multiprocessing_distributed", "false", "--ngpu", str(int(options.ngpu > 0))]
        command += [] if options.ngpu else ["--dist_backend", "gloo"]
    seed = str(config.seed(options.seed))
    return (*command, *config_words(plan, config), *words, "--seed", seed, "--resume", "true")


def data_options(
    inputs: Callable[..., str],
    entries: Callable[[str], Sequence[tuple[str, str, str]]],
    shapes: Callable[[str], Sequence[str]],
) -> list[str]:
    """Return ESPnet's options for the training and the validation data.

    Args:
        inputs: Set and table -> path.
        entries: Set -> table, ESPnet's name and type of each kind of data.
        shapes: Set -> its shape files.
    """
    words = []
    for side, name in (("train", "train"), ("valid", "dev")):
        for table, called, kind in entries(name):
            words += [f"--{side}_data_path_and_name_and_type", f"{inputs(name, table)},{called},{kind}"]
        for shape in shapes(name):
            words += [f"--{side}_shape_file", shape]
    return words


def train_on_features(plan: Plan, name: str, config: Config, folder: str, further: str) -> Job:
    """Return a training from features to the units of the tokenizer stage."""
    layout = plan.layout
    entries = [("feats.scp", "speech", "kaldi_ark"), (layout.ctc_table, "text", "text")]

    def shapes(set_name: str) -> list[str]:
        return [f"{layout.stats_dir}/{set_name}/{kind}_shape" for kind in ("speech", "text")]

    words = [
        "--tokenizer",
        layout.tokenizer,
        "--cmvn_file",
        layout.cmvn,
        *data_options(layout.dump, lambda _: entries, shapes),
    ]
    words += ["--output_dir", folder, *split_further(further)]
    return Job("train", trainer(plan, name, config, words), f"{folder}/train.log")


def average_job(plan: Plan, folder: str, output: str) -> Job:
    """Return the job that averages the best epochs of an experiment."""
    words = ["--exp_dir", folder, "--num_best", plan.options.num_best, "--output_dir", output]
    return Job("cpu", module("average_checkpoints", *words), f"{output}/average.log")
