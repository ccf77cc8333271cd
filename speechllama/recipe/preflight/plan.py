"""What a run is going to do: the recipe's options and the YAML files they choose.

options -> Plan; YAML + options of single commands -> settings
"""

from __future__ import annotations

from dataclasses import dataclass
from types import NoneType
from typing import Any

from speechllama.config import read_config
from speechllama.model.build import SEQ2SEQ
from speechllama.train.options import Kind, check_keys, known_options, override

WHOLE_NUMBERS = ("batch_bins", "accum_grad", "max_epoch")  # that the preflight computes with


@dataclass(frozen=True)
class Plan:
    """A run, as `speech_llama.sh` sees it; names are those of its options.

    Attributes:
        system_config: The system's YAML; of a rescoring system, that of the system it stands on.
        rescore_config: The rescoring system's YAML; "" of others.
        init_config: That of the system it starts from; "" without one.
        ctc_config: CTC's YAML.
        llm_config: YAML of the LLM that the recipe trains itself; not used with `llm`.
        llm: Directory or hub id of an LLM; "" if the recipe trains its own.
        revision: Its revision on the hub.
        langs: Source languages.
        common_voice: Common Voice's folder; "" if the recipe makes its corpus.
        covost2: CoVoST 2's folder or URL.
        downloads: Where archives are unpacked and tables downloaded.
        datadir: Data directories.
        is_prepared: Whether stage 1 is finished, for these languages and corpora.
        dumpdir: Features.
        expdir: Experiments.
        ctc_units: Units of CTC.
        nj: Parallel jobs of data work.
        ngpu: GPUs of each node.
        num_nodes: Nodes that share a training.
        launcher: How jobs start; on a cluster (not `local`) this machine need not have the GPUs.
        beam_size: Of decoding.
        batch_size: Utterances decoded together.
        stop_stage: Last stage; before 7 no LLM is needed.
        ctc_options: Options of CTC training that override its YAML.
        train_options: Options of the systems' training that override theirs.
    """

    system_config: str
    ctc_config: str
    rescore_config: str = ""
    init_config: str = ""
    llm_config: str = ""
    llm: str = ""
    revision: str | None = None
    langs: str = ""
    common_voice: str = ""
    covost2: str = ""
    downloads: str = "downloads"
    datadir: str = "data"
    is_prepared: bool = False
    dumpdir: str = "dump"
    expdir: str = "exp"
    ctc_units: int = 1000
    nj: int = 1
    ngpu: int = 0
    num_nodes: int = 1
    launcher: str = "local"
    beam_size: int = 4
    batch_size: int = 16
    stop_stage: int = 13
    ctc_options: str = ""
    train_options: str = ""

    @property
    def needs_llm(self) -> bool:
        """Whether a stage with the LLM runs."""
        return self.stop_stage >= 7 and (not self.is_seq2seq or bool(self.rescore_config))

    @property
    def is_seq2seq(self) -> bool:
        """Whether the system is an encoder-decoder; False where its YAML is faulty."""
        try:
            return bool(read_config(self.system_config).get("model") == SEQ2SEQ)
        except (FileNotFoundError, ValueError):
            return False

    @property
    def num_processes(self) -> int:
        """Processes that share a training, and its batches."""
        return max(1, self.ngpu) * self.num_nodes

    @property
    def device(self) -> str:
        """Where training runs."""
        return "cuda" if self.ngpu else "cpu"


def read_settings(path: str, options: str, kind: Kind) -> dict[str, Any]:
    """A YAML with what it includes, and the options that override it.

    Args:
        path: The YAML.
        options: Words of a command line, "--max_epoch 5".
        kind: Whose options its keys are: `ctc`, `system` or `seq2seq`.

    Raises:
        FileNotFoundError, ValueError: As `read_config`; a key or option that is none, or a value of another kind.
    """
    known = known_options(kind)
    check_keys(["--config", path], known)
    settings = read_config(path)
    if options:
        settings = override(settings, options, known)
    faults = []
    for name, value in settings.items():
        if name.endswith("_conf") and not isinstance(value, (dict, NoneType)):
            faults.append(f"{name}: expected settings (key: value), found {value!r}")
        if name in WHOLE_NUMBERS and not isinstance(value, int):
            faults.append(f"{name}: expected a whole number, found {value!r}")
    if faults:
        raise ValueError(f"{path}: {'; '.join(faults)}")
    return settings
