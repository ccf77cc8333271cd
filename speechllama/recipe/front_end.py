"""The front end of a run: what conf/frontend/NAME.yaml says.

--frontend whisper_base, --frontend_path DIR -> conf/frontend/whisper_base.yaml -> SelectedFrontEnd

frontend: hf                              a record of FRONT_ENDS
frontend_conf: {path: ORGANISATION/NAME}  its settings
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from speechllama.constants import DEFAULT_FRONT_END
from speechllama.faults import InputError
from speechllama.frontend.front_ends import FRONT_ENDS, FrontEnd, choose_front_end, trains
from speechllama.hub import weight_files
from speechllama.options import UsageError
from speechllama.recipe.system import CONF, TEMPLATE_CONF, ConfFolders, Config
from speechllama.registry import Choice

FOLDER = "frontend"  # in conf
KEYS = ("frontend", "frontend_conf")


@dataclass(frozen=True)
class SelectedFrontEnd:
    """A front end and its name in a recipe.

    Attributes:
        config: Its YAML.
        name: The YAML's name.
        choice: Its record and settings.
    """

    config: Config
    name: str
    choice: Choice[FrontEnd]

    @property
    def suffix(self) -> str:
        """What it adds to the names of directories; nothing if it is the default."""
        return "" if self.name == DEFAULT_FRONT_END else f"_{self.name}"

    @property
    def is_trained(self) -> bool:
        """Whether it is a part of the networks, which then read waveforms."""
        return trains(self.choice.conf())

    @property
    def runs_on_gpu(self) -> bool:
        """Whether a GPU makes stage features faster."""
        return self.choice.record.has_weights and not self.is_trained

    @property
    def title(self) -> str:
        """What stage features writes."""
        return "waveforms, for a front end that trains" if self.is_trained else self.choice.record.title

    @property
    def has_ctc_head(self) -> bool:
        """Whether its weights bring a CTC head with units of its own, so that none is trained."""
        return bool(getattr(self.choice.settings, "ctc_head", False))

    @property
    def files(self) -> tuple[str, ...]:
        """Files whose change makes its features stale: a model in a directory."""
        folder = Path(getattr(self.choice.settings, "path", ""))
        config = folder / "config.json"
        is_local = self.choice.record.has_weights and config.is_file()
        return tuple(map(str, (config, *weight_files(folder)))) if is_local else ()

    @property
    def words(self) -> tuple[str, ...]:
        """Options of make_features; none for the default with its default settings."""
        record, settings, conf = self.choice.record, self.choice.settings, self.choice.conf()
        changed = {
            field.name: conf[field.name]
            for field in dataclasses.fields(settings)
            if getattr(settings, field.name) != field.default
        }
        words = ["--frontend", record.name] if changed or record.name != DEFAULT_FRONT_END else []
        return (*words, *(["--frontend_conf", json.dumps(changed)] if changed else []))


def front_end_names(folders: Iterable[Path] = (Path(CONF), TEMPLATE_CONF)) -> list[str]:
    """Name the front ends of a recipe, by default of that in whose directory this is called, and of all recipes."""
    return sorted({path.stem for folder in folders for path in (folder / FOLDER).glob("*.yaml")})


def select_front_end(name: str, path: str, folders: ConfFolders) -> SelectedFrontEnd:
    """Read the YAML of a front end.

    Args:
        name: `--frontend`.
        path: `--frontend_path`, in place of the path of `frontend_conf`; "": what the YAML says.
        folders: Where YAML files are looked for.

    Returns:
        The front end.

    Raises:
        UsageError: There is no such YAML, it has other keys, or its settings are wrong.
    """
    known = front_end_names(folders.folders)
    if name not in known:
        raise UsageError(f"--frontend: unknown front end {name!r}, expected one of {', '.join(known)}")
    config = folders.read(f"{FOLDER}/{name}")
    wrong = [key for key in config.settings if key not in KEYS]
    if wrong:
        raise UsageError(f"{config.path}: unknown key {wrong[0]!r}, expected one of {', '.join(KEYS)}")
    kind = str(config.settings.get("frontend", DEFAULT_FRONT_END))
    conf = {**(config.settings.get("frontend_conf") or {}), **({"path": path} if path else {})}
    try:
        if path and not FRONT_ENDS[kind].has_weights:
            raise InputError(f"--frontend_path: the front end {name} has no weights")
        choice = choose_front_end(kind, conf)
    except ValueError as error:
        raise UsageError(f"{config.path}: {error}") from error
    return SelectedFrontEnd(config, name, choice)
