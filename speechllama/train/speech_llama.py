"""Speech-LLaMA training on ESPnet.

    {speech (B, T, F) or compressed (B, U, D) or (B, U), prompt, suffix, text} -> loss, stats, weight

The name of the audio data says what it is: `speech` are features, `compressed` comes from the cache.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from speechllama.config import from_mapping
from speechllama.data.ark import check_maker
from speechllama.data.data_dir import lacks_transcripts
from speechllama.faults import InputError, first_ten
from speechllama.files import read_table
from speechllama.frontend.feature_format import recorded_format
from speechllama.llm.files import load_tokenizer
from speechllama.llm.record import read_llm_record
from speechllama.model.audio import AudioInput, Compressed, Features, Words
from speechllama.model.build import build_speech_llama, describe_cache, read_settings
from speechllama.model.speech_llama import Batch, Loss, SpeechLlama
from speechllama.text.prompt import PromptConfig, make_prompts, prompt_conf_of
from speechllama.text.targets import DEFAULT_TARGET
from speechllama.text.tasks import TASKS, Task
from speechllama.train.distillation import (
    TRANSCRIPT,
    TRANSCRIPT_TABLE,
    DistillConfig,
    DistilledLoss,
    distilled_loss,
    read_distillation,
)
from speechllama.train.espnet import AbsESPnetModel, SpeechTask, force_gatherable
from speechllama.train.feature_record import record_features
from speechllama.train.options import STARTS, Kind
from speechllama.train.preprocessor import SpeechLlamaPreprocessor
from speechllama.train.same_settings import recorded_settings
from speechllama.train.start import start_network
from speechllama.train.task_mixture import TaskMixture, read_shares
from speechllama.train.text_pairs import SOURCE, check_text_share, make_text_batches, touch


class SpeechLlamaModel(AbsESPnetModel):
    """The network with the `forward` of ESPnet; its checkpoints are the network's own."""

    def __init__(self, network: SpeechLlama, distill: DistillConfig | None = None) -> None:
        super().__init__()
        self.network, self.distill = network, distill or DistillConfig()

    def forward(self, text: Tensor, text_lengths: Tensor, **inputs: Tensor) -> tuple[Tensor, dict[str, Tensor], Tensor]:
        """Loss of one batch: see `SpeechLlama.forward`; the weight is the number of text tokens.

        Args:
            text: Tokens of the text (B, N).
            text_lengths: (B,)
            inputs: `prompt`, `suffix`, and `compressed`, `speech` or, of pairs of texts, `source`, each with its
                `_lengths`; `transcript`, where its teacher reads it; whatever else ESPnet's collator adds is not read.

        Returns:
            Loss, statistics, weight. Those of pairs have names of their own, so that the loss of speech stays what it
            is. A distilled loss is reported with its parts, `loss_ce` and `loss_kl`.
        """
        audio: AudioInput | Words
        unused: Tensor | float = 0.0
        if SOURCE in inputs:
            audio = Words(inputs[SOURCE], inputs[f"{SOURCE}_lengths"])
            unused = touch([*self.network.encoder.parameters(), *self.network.compressor.parameters(),
                            *self.network.audio_encoder.parameters()])  # fmt: skip
        elif "compressed" in inputs:
            audio = Compressed(inputs["compressed"], inputs["compressed_lengths"])
        elif "speech" in inputs:
            audio = Features(inputs["speech"], inputs["speech_lengths"])
        else:
            raise InputError("a batch needs `speech` or `compressed`")
        what = "_text" if SOURCE in inputs else ""
        prompt, suffix = inputs["prompt"], inputs["suffix"]
        batch = Batch(audio, prompt, inputs["prompt_lengths"], suffix, inputs["suffix_lengths"])
        result: Loss | DistilledLoss
        if self.distill.weight and not isinstance(audio, Words):
            words = Words(inputs[TRANSCRIPT], inputs[f"{TRANSCRIPT}_lengths"])
            result = distilled_loss(self.network, batch, words, (text, text_lengths), self.distill)
            stats = {"loss_ce": result.cross_entropy.detach(), "loss_kl": result.divergence.detach()}
        else:
            result, stats = self.network(batch, text, text_lengths), {}
        stats |= {f"loss{what}": result.loss.detach(), f"acc{what}": result.accuracy}
        gathered: tuple[Tensor, dict[str, Tensor], Tensor] = force_gatherable(
            (result.loss + unused, stats, result.num_tokens), result.loss.device
        )
        return gathered

    def collect_feats(self, **batch: Tensor) -> dict[str, Tensor]:
        """Never called: lengths come from headers, so that ESPnet's statistics stage builds no LLM."""
        raise RuntimeError("speechllama writes its own shape files (stage `train`); set collect_stats to false")


class SpeechLlamaTask(SpeechTask):
    """ESPnet task of the Speech-LLaMA."""

    kind: Kind = "system"
    defaults: Mapping[str, Any] = {
        "required": ["output_dir", "llm_dir"],
        "model_conf": {"extract_feats_in_collect_stats": False},
    }

    @classmethod
    def build_preprocess_fn(cls, args: argparse.Namespace, train: bool) -> Callable[..., dict[str, Any]] | None:
        """Text to ids of the LLM's tokenizer, with the prompt that config.yaml records."""
        config = from_mapping(PromptConfig, args.prompt_conf, f"{args.config}: prompt_conf")
        prompts = make_prompts(config, args.task_name, load_tokenizer(*read_llm_record(args.llm_dir)))
        task = TASKS[args.task_name]
        shares = read_shares(args.task_conf, task, f"{args.config}: task_conf")
        is_distilled = bool(read_distillation(vars(args), task, str(args.config)).weight)
        return SpeechLlamaPreprocessor(prompts, TaskMixture(task, shares, args.seed), is_distilled)

    @classmethod
    def prepare_epochs(
        cls, args: argparse.Namespace, preprocess: Any, mode: str, part: slice
    ) -> Callable[[Any, int], Any] | None:
        """Choose tasks anew in each epoch of training, and put pairs of texts among its batches."""
        text = make_text_batches(args, preprocess, mode, part.step or 1)
        if mode != "train":
            return (lambda loader, _: text.append(loader, part)) if text else None

        def prepare(loader: Any, epoch: int) -> Any:
            preprocess.start_epoch(epoch)
            return text.mix(loader, epoch, part) if text else loader

        return prepare

    @classmethod
    def required_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """What a training set must hold, besides `speech` or `compressed`."""
        return ("text",)

    @classmethod
    def optional_data_names(cls, train: bool = True, inference: bool = False) -> tuple[str, ...]:
        """What it may hold."""
        written = dict.fromkeys(name for task in TASKS.values() for name in task.references)
        return ("speech", "compressed", "lang", "target", "prompt", *(name for name in written if name != "text"))

    @classmethod
    def build_model(cls, args: argparse.Namespace) -> SpeechLlamaModel:
        """Make the network, start it from another experiment if asked, and say what trains."""
        try:
            task = TASKS[args.task_name]  # argparse checks no choice that comes from a YAML
        except ValueError as error:
            raise InputError(f"{args.config}: task_name: {error}") from error
        if args.audio_encoder_start not in STARTS:
            known = " or ".join(STARTS)
            raise InputError(f"{args.config}: audio_encoder_start: {args.audio_encoder_start!r}, expected {known}")
        distill = read_distillation(vars(args), task, str(args.config))
        check_tables(args, task, is_distilled=bool(distill.weight))
        check_text_share(vars(args), str(args.config))
        shares = read_shares(args.task_conf, task, f"{args.config}: task_conf")
        args.task_conf = {"shares": shares} if shares else {}
        if shares:
            args.max_cache_size = 0.0  # a cached utterance would keep its task
        features = recorded_format(read_settings(args.ctc_dir), args.ctc_dir) if args.ctc_dir else None
        record_features(args, features)
        network = build_speech_llama(vars(args), str(args.config), "cuda" if args.ngpu > 0 else "cpu")
        expected = describe_cache(network.encoder, network.compressor, network.config.compressor)
        for path, name, _ in (*args.train_data_path_and_name_and_type, *args.valid_data_path_and_name_and_type):
            if name == "compressed":
                check_maker(Path(path).parent, name, expected)
        # All settings go into config.yaml: a later default must not change an old experiment.
        # One that began with an older version keeps its start token.
        start = (recorded_settings(args).get("prompt_conf") or {}).get("start_token", PromptConfig.start_token)
        defaults = {"template": task.prompt, "target": DEFAULT_TARGET, "start_token": start}
        given = prompt_conf_of(args.prompt_conf, task.name, f"{args.config}: prompt_conf")
        args.prompt_conf = {**defaults, **given, "targets": trained_targets(args.train_data_path_and_name_and_type)}
        args.audio_encoder_conf = dataclasses.asdict(network.config.audio_encoder)
        args.compressor_conf = network.config.compressor.conf()
        args.distill_conf = dataclasses.asdict(distill) if distill.weight else {}
        if not network.config.freeze_encoder:
            args.encoder_conf = network.config.encoder.conf()
        llm = dataclasses.asdict(network.config.llm)
        args.llm_conf = {name: llm[name] for name in llm if name not in ("path", "revision")}  # these are llm_dir's
        check_context([*args.train_shape_file, *args.valid_shape_file], network.llm.context)
        args.init_adapter_fingerprint = start_network(network, args)
        model = SpeechLlamaModel(network, distill)
        cls.check_options(args, model)
        report_trainable(network)
        return model


def check_tables(args: argparse.Namespace, task: Task, is_distilled: bool = False) -> None:
    """Refuse data without a part of what a task writes, or without the transcripts that a teacher reads.

    Raises:
        ValueError: A table is not among the training or validation data, or utterances have prompts of their own and
            the task mixes others.
    """
    for side in ("train", "valid"):
        names = [name for _, name, _ in vars(args)[f"{side}_data_path_and_name_and_type"]]
        missing = [name for name in task.references[1:] if name not in names]
        if missing:
            raise InputError(
                f"--{side}_data_path_and_name_and_type: the task {task.name} writes {' and '.join(task.references)}, "
                f"and no data is named {missing[0]!r}: give DIR/{missing[0]},{missing[0]},text"
            )
        if is_distilled and TRANSCRIPT_TABLE not in names:
            raise InputError(
                f"--{side}_data_path_and_name_and_type: distill_conf: the teacher reads transcripts, and no data is "
                f"named {TRANSCRIPT_TABLE!r}: give DIR/{TRANSCRIPT_TABLE},{TRANSCRIPT_TABLE},text (a recipe does "
                "that where the system's YAML has distill_conf)"
            )
        needs = is_distilled or TRANSCRIPT_TABLE in task.references
        folders = {Path(path).parent for path, _, _ in vars(args)[f"{side}_data_path_and_name_and_type"]}
        copied = sorted(folder for folder in folders if needs and task.is_translation and lacks_transcripts(folder))
        if copied:
            raise InputError(
                f"{copied[0] / TRANSCRIPT_TABLE}: has the translations, as where a corpus has no transcripts; "
                f"{'a teacher reads them' if is_distilled else f'the task {task.name} writes them'}: choose another "
                "system or task, or write the transcripts in stage data"
            )
        if "prompt" in names and len(task.prompted) > 1:
            raise InputError(
                f"--{side}_data_path_and_name_and_type: utterances with prompts of their own (`prompt`) are for one "
                f"task, and {task.name} mixes {' and '.join(task.parts)}; remove the file `prompt` of the data "
                "directories"
            )


def trained_targets(data: Sequence[tuple[str, str, str]]) -> list[str]:
    """Find the languages that a training set is translated into; [] where none of its tables says so."""
    return sorted({code for path, name, _ in data if name == "target" for code in read_table(path).values()})


def check_context(shape_files: Sequence[str], context: int | None) -> None:
    """Refuse utterances that the LLM has too few positions for, before hours are spent.

    Args:
        shape_files: What `collect_llm_stats` wrote, perhaps for another LLM.
        context: Positions of the LLM; None: without a limit.

    Raises:
        ValueError: There are some.
    """
    for path in shape_files if context is not None else ():
        counts = {utterance: int(value) - 1 for utterance, value in read_table(path).items() if value.isdecimal()}
        beyond = [f"{utterance}: {count} positions" for utterance, count in counts.items() if count > (context or 0)]
        if beyond:
            raise InputError(
                f"{path}: {len(beyond):,} of {len(counts):,} utterances need more than the LLM's {context} positions; "
                f"count again with this LLM (collect_llm_stats), which leaves them out:{first_ten(beyond)}"
            )


def report_trainable(network: SpeechLlama) -> None:
    """Log the trainable parameters by part and check them against the config.

    Raises:
        RuntimeError: A part trains that the config freezes, or the reverse: our mistake, not the user's.
    """
    config = network.config
    expected = {
        "encoder": not config.freeze_encoder,
        "compressor": any(True for _ in network.compressor.parameters()),  # whatever it has trains
        "audio_encoder": config.train_audio_encoder,
        "llm": config.llm.train != "frozen",
    }
    for part, module in network.named_children():
        total = sum(parameter.numel() for parameter in module.parameters())
        trains = sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)
        logging.info("%s: %s parameters, %s train", part, f"{total:,}", f"{trains:,}")
        if bool(trains) != expected[part]:
            raise RuntimeError(f"{part}: {trains} parameters train, the config intends {expected[part]}")
    logging.info("%d tensors in each checkpoint", len(network.state_dict()))
