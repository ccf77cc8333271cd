"""All that is imported from ESPnet, and what is changed for every task.

Works with 202511 (Python 3.10, 3.11) and 202611 (3.12, 3.13). `espnet2.tasks.asr` is not imported: it costs six
seconds and tries to download.
"""

from __future__ import annotations

import argparse
import inspect
import logging
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from speechllama.data.sampling import BatchLimits, LanguageSampler
from speechllama.faults import InputError
from speechllama.files import read_table, writing
from speechllama.model.build import check_device
from speechllama.peak_memory import PeakMemory
from speechllama.train.data_files import check_data_files, explain_failure
from speechllama.train.light_import import light_import
from speechllama.train.options import ADD_OPTIONS, Kind, add_trainer_options, check_keys, option, resolve_includes
from speechllama.train.outcome import check_gradients, check_loss
from speechllama.train.recovery import CHECKPOINT, keep_previous, recover
from speechllama.train.resume import INTERRUPTED, EpochInFlight, Training, num_processes, rank
from speechllama.train.same_settings import check_same_settings
from speechllama.train.stop import StopRequest, only_training
from speechllama.training_record import record_peak, record_training, training_record_path

if TYPE_CHECKING:
    from espnet2.asr.ctc import CTC
    from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
    from espnet2.asr.encoder.conformer_encoder import ConformerEncoder

with light_import():
    from espnet2.fileio.read_text import load_num_sequence_text
    from espnet2.iterators.abs_iter_factory import AbsIterFactory
    from espnet2.iterators.sequence_iter_factory import SequenceIterFactory
    from espnet2.tasks.abs_task import AbsTask, optim_classes, scheduler_classes
    from espnet2.torch_utils.device_funcs import force_gatherable
    from espnet2.train.abs_espnet_model import AbsESPnetModel
    from espnet2.train.collate_fn import CommonCollateFn
    from espnet2.train.reporter import Average, Reporter, WeightedAverage
    from espnet2.train.trainer import Trainer, TrainerOptions
    from espnet2.utils.build_dataclass import build_dataclass
    from espnet2.utils.nested_dict_action import NestedDictAction

# Of ESPnet's trainer, in each training.
warnings.filterwarnings("ignore", r"`torch\.cuda\.amp\.", category=FutureWarning)

__all__ = [
    "AbsESPnetModel",
    "NestedDictAction",
    "SpeechTask",
    "force_gatherable",
    "seq2seq_classes",
]


class Seq2SeqClasses(NamedTuple):
    """ESPnet's modules that the encoder-decoder is made of."""

    encoder: type[ConformerEncoder]
    decoder: type[TransformerDecoder]
    ctc: type[CTC]


def seq2seq_classes() -> Seq2SeqClasses:
    """Import the modules of an encoder-decoder; other trainings need none of them."""
    with light_import():
        from espnet2.asr.ctc import CTC
        from espnet2.asr.decoder.transformer_decoder import TransformerDecoder
        from espnet2.asr.encoder.conformer_encoder import ConformerEncoder
    return Seq2SeqClasses(ConformerEncoder, TransformerDecoder, CTC)


@dataclass
class ResumableOptions(TrainerOptions):
    """ESPnet's options of its trainer, and ours.

    Attributes:
        save_minutes: Minutes between two saves inside an epoch; 0: only when asked to stop.
    """

    save_minutes: float


class ResumableTrainer(Trainer):
    """ESPnet's trainer; asked to stop, it saves between two updates, and a kill loses no more than `save_minutes`.

    ESPnet overwrites `checkpoint.pth` in place and writes `<epoch>epoch.pth` after it. Before it does, we keep a
    copy of the last whole checkpoint; before it starts, we repair what a kill left behind.
    """

    request: StopRequest
    memory: PeakMemory
    in_flight: EpochInFlight
    is_first_epoch: bool

    @classmethod
    def build_options(cls, args: argparse.Namespace) -> TrainerOptions:
        """Take the trainer's options out of all."""
        options: TrainerOptions = build_dataclass(ResumableOptions, args)
        return options

    @classmethod
    def run(cls, *args: Any, **kwargs: Any) -> None:
        """Repair the output directory, then train."""
        options = kwargs["trainer_options"]
        folder = Path(options.output_dir)
        if rank() == 0:
            if options.resume:
                recover(folder, Reporter())
            else:
                (folder / INTERRUPTED).unlink(missing_ok=True)
            if not options.resume or not any((folder / name).is_file() for name in (CHECKPOINT, INTERRUPTED)):
                training_record_path(folder).unlink(missing_ok=True)
        if kwargs["distributed_option"].distributed:
            torch.distributed.barrier()
        cls.is_first_epoch = True
        cls.memory = PeakMemory("cuda" if options.ngpu > 0 else "cpu")
        try:
            with StopRequest(options.save_minutes) as cls.request:
                super().run(*args, **kwargs)
        finally:
            if rank() == 0:
                record_peak(folder, cls.memory)
        if rank() == 0:
            (folder / INTERRUPTED).unlink(missing_ok=True)
            record_training(folder, options.accum_grad, cls.memory)

    @classmethod
    def train_one_epoch(cls, *args: Any, **kwargs: Any) -> bool:
        """Train an epoch, or what an interruption left of it; always False.

        Raises:
            ValueError: An epoch has too few batches for an update, or no update was possible.
        """
        options, model, reporter = kwargs["options"], kwargs["model"], kwargs["reporter"]
        plain_model = getattr(model, "module", model)  # without the wrapper of data-parallel training
        training = Training(plain_model, kwargs["optimizers"], kwargs["schedulers"], kwargs["scaler"], reporter)
        for optimizer in training.optimizers:
            optimizer.zero_grad()  # ESPnet carries an unfinished update of accum_grad into the next epoch
        device = "cuda" if options.ngpu > 0 else "cpu"
        folder, epoch, is_first = Path(options.output_dir), reporter.get_epoch(), cls.is_first_epoch
        cls.in_flight = EpochInFlight(folder, epoch, training, cls.request, options.accum_grad, device, is_first)
        cls.is_first_epoch = False
        num_done = cls.in_flight.restore(kwargs["iterator"], WeightedAverage, Average)
        kwargs["iterator"] = cls.in_flight.batches()
        is_invalid: bool = super().train_one_epoch(*args, **kwargs)
        check_gradients(is_invalid and num_done == 0, epoch, options.output_dir)
        return False

    @classmethod
    def validate_one_epoch(cls, *args: Any, **kwargs: Any) -> None:
        """Validate, then keep a copy of the checkpoint ESPnet is about to overwrite.

        Raises:
            ValueError: The loss is not finite.
        """
        kwargs["iterator"] = cls.in_flight.validation(kwargs["iterator"])
        super().validate_one_epoch(*args, **kwargs)
        folder = Path(kwargs["options"].output_dir)
        # ESPnet's reporter gives a batch that lacks a value, as one of text lacks the loss of speech, NaN of no weight.
        losses = [entry for entry in kwargs["reporter"].stats.get("loss", []) if getattr(entry, "weight", 1)]
        check_loss(losses, cls.in_flight.epoch, str(folder))
        if rank() == 0:
            record_peak(folder, cls.memory)
            keep_previous(folder)


class LanguageIterFactory(AbsIterFactory):
    """Gives each epoch the batches that a `LanguageSampler` draws for it, this process's share of each."""

    def __init__(self, sampler: LanguageSampler, num_iterations: int | None, share: slice, **loader: Any) -> None:
        self.sampler, self.num_iterations, self.share, self.loader = sampler, num_iterations, share, loader

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> torch.utils.data.DataLoader:
        """ESPnet's loader over the epoch's batches, with its seeds; they are in random order already."""
        batches = [batch[self.share] for batch in self.sampler.batches(epoch, self.num_iterations)]
        factory = SequenceIterFactory(batches=batches, seed=self.sampler.seed, shuffle=False, **self.loader)
        return factory.build_iter(epoch)


class EpochIterFactory(AbsIterFactory):
    """Calls what prepares each epoch: a function of its loader and number that returns the loader to use."""

    def __init__(self, factory: AbsIterFactory, prepare: Callable[[Any, int], Any]) -> None:
        self.factory, self.prepare = factory, prepare

    def build_iter(self, epoch: int, shuffle: bool | None = None) -> torch.utils.data.DataLoader:
        """The factory's loader, prepared; its workers begin after that."""
        return self.prepare(self.factory.build_iter(epoch, shuffle), epoch)


class SpeechTask(AbsTask):
    """What both of our tasks share: strict options, an optimizer of what trains, safe resume."""

    kind: Kind
    defaults: Mapping[str, Any]  # of ESPnet's options, where ours differ
    num_optimizers = 1
    trainer = ResumableTrainer
    padding = -1  # of token ids

    @classmethod
    def get_parser(cls) -> argparse.ArgumentParser:
        """ESPnet's parser with our options, which does not accept abbreviated options."""
        parser = super().get_parser()
        parser.allow_abbrev = False
        add_trainer_options(parser)
        return parser

    @classmethod
    def add_task_arguments(cls, parser: argparse.ArgumentParser) -> None:
        """Add the options of this kind of training, with ESPnet's way to read nested settings."""
        ADD_OPTIONS[cls.kind](parser, NestedDictAction)
        parser.set_defaults(**cls.defaults)

    @classmethod
    def main(cls, args: argparse.Namespace | None = None, cmd: Sequence[str] | None = None) -> None:
        """Run the task; a YAML may `include` another, and its keys are checked with the nearest name shown."""
        if args is None:
            parser = cls.get_parser()
            cmd = list(cmd or [])
            check_keys(cmd, {action.dest for action in parser._actions})
            args = parser.parse_args(resolve_includes(cmd))
            args.config = option(cmd, "config")  # the user's own file, for messages, not what it was merged into
        if args.output_dir is None:  # --print_config, or ESPnet says that it is missing
            super().main(args=args)
            return
        with writing(args.output_dir), only_training(args.output_dir):
            check_data_files(args)
            try:
                super().main(args=args)
            except Exception as error:
                explain_failure(error, args)
                raise

    @classmethod
    def build_collate_fn(
        cls, args: argparse.Namespace, train: bool
    ) -> Callable[[Collection[tuple[str, dict[str, np.ndarray]]]], tuple[list[str], dict[str, torch.Tensor]]]:
        """Pad features with 0 and ids with -1."""
        return CommonCollateFn(float_pad_value=0.0, int_pad_value=cls.padding)

    @classmethod
    def build_sequence_iter_factory(cls, args: argparse.Namespace, iter_options: Any, mode: str) -> AbsIterFactory:
        """ESPnet's batches; in training with a temperature over languages, those of `LanguageSampler`."""
        ranks = torch.distributed.get_world_size() if iter_options.distributed else 1
        part = slice(torch.distributed.get_rank(), None, ranks) if iter_options.distributed else slice(None)
        prepare = cls.prepare_epochs(args, iter_options.preprocess_fn, mode, part)
        factory = cls.build_batches(args, iter_options, mode)
        return EpochIterFactory(factory, prepare) if prepare else factory

    @classmethod
    def prepare_epochs(
        cls, args: argparse.Namespace, preprocess: Any, mode: str, part: slice
    ) -> Callable[[Any, int], Any] | None:
        """Return what prepares each epoch, a function of its loader and number; None if nothing does.

        Args:
            args: The settings of the training.
            preprocess: What prepares each utterance, of this side only.
            mode: "train" or "valid".
            part: This process's part of a batch.
        """
        return None

    @classmethod
    def build_batches(cls, args: argparse.Namespace, iter_options: Any, mode: str) -> AbsIterFactory:
        """Make the batches of each epoch; see `build_sequence_iter_factory`."""
        if mode != "train" or args.language_temperature == 1:
            return super().build_sequence_iter_factory(args, iter_options, mode)
        if iter_options.batch_type != "numel":
            raise InputError(f"--language_temperature needs batch_type numel, found {iter_options.batch_type}")
        files = [load_num_sequence_text(path, loader_type="csv_int") for path in iter_options.shape_files]
        shapes = {
            utterance: [(int(file[utterance][0]), int(np.prod(file[utterance][1:]))) for file in files]
            for utterance in files[0]
        }
        table = Path(iter_options.data_path_and_name_and_type[0][0]).parent / "utt2lang"
        ranks = torch.distributed.get_world_size() if iter_options.distributed else 1
        limits = BatchLimits(iter_options.batch_bins, max(args.min_batch_size, ranks))
        sampler = LanguageSampler(read_table(table), shapes, args.language_temperature, limits, args.seed)
        draws = ", ".join(f"{name} {num:,}" for name, num in sampler.num_draws.items())
        logging.info("language_temperature %g: an epoch draws %s", args.language_temperature, draws)
        return LanguageIterFactory(
            sampler,
            iter_options.num_iters_per_epoch,
            slice(torch.distributed.get_rank(), None, ranks) if iter_options.distributed else slice(None),
            dataset=cls.build_dataset(args, iter_options, set(shapes)),
            num_workers=args.num_workers,
            collate_fn=iter_options.collate_fn,
            pin_memory=args.ngpu > 0,
        )

    @classmethod
    def build_optimizers(cls, args: argparse.Namespace, model: torch.nn.Module) -> list[torch.optim.Optimizer]:
        """One optimizer over the trainable parameters; ESPnet would also give it the frozen ones.

        Raises:
            ValueError: There are none, or the optimizer is unknown or has no such setting.
        """
        if args.optim not in optim_classes:
            raise InputError(f"{args.config}: unknown optim {args.optim!r}, expected one of {', '.join(optim_classes)}")
        trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
        if not trainable:
            freezing = ("freeze_param", "train_audio_encoder", "llm_conf")
            settings = ", ".join(f"{name}: {vars(args)[name]}" for name in freezing if name in vars(args))
            raise InputError(f"{args.output_dir}: nothing is left to train ({settings}); free a part in {args.config}")
        try:
            return [optim_classes[args.optim](trainable, **args.optim_conf)]
        except (TypeError, ValueError, LookupError) as error:
            raise InputError(f"{args.config}: optim_conf {args.optim_conf}: {error}") from error

    @classmethod
    def check_options(cls, args: argparse.Namespace, model: torch.nn.Module) -> None:
        """Fail where ESPnet would continue silently.

        Raises:
            ValueError: `--freeze_param` names no parameter, ESPnet's `--init_param` is used, the scheduler has no such
                setting, there is no GPU or one process asks for several, or other settings would be resumed.
        """
        check_device("cuda" if args.ngpu > 0 else "cpu")
        if args.ngpu > 1 and num_processes() == 1:  # ESPnet would take DataParallel, which ours does not bear
            raise InputError(f"--ngpu {args.ngpu}: a process has one GPU; use torchrun --nproc_per_node {args.ngpu}")
        names = [name for name, _ in model.named_parameters()]
        for frozen in args.freeze_param:
            if not any(name == frozen or name.startswith(f"{frozen}.") for name in names):
                raise InputError(f"--freeze_param {frozen}: the model has no such parameter; it has {names[:5]} ...")
        if args.init_param:
            raise InputError("--init_param skips names that do not match; use --init_from EXPERIMENT instead")
        if args.scheduler in scheduler_classes:
            known = [*inspect.signature(scheduler_classes[args.scheduler]).parameters][1:]  # the first is the optimizer
            wrong = [key for key in args.scheduler_conf if key not in known]
            if wrong:
                raise InputError(f"{args.config}: scheduler_conf: {args.scheduler} has no {wrong}, known are {known}")
        if rank() == 0:  # which also writes config.yaml, a moment later
            check_same_settings(args)
        by_bins = args.batch_type in ("numel", "length")
        amount = f"{args.batch_bins:,} bins" if by_bins else f"{args.batch_size} utterances"
        shared_by = num_processes()
        logging.info("an update sees %s x %d (accum_grad), shared by %d processes", amount, args.accum_grad, shared_by)
