"""A system goes onto a repository on a hub and comes back from it, to translate as before."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

from speechllama import Speech2Text
from speechllama.bin import export, translate
from speechllama.constants import SAMPLE_RATE
from speechllama.decode.search_config import SearchConfig
from speechllama.decode.speech2text import Translation
from test.fake_hub import FakeHub
from test.trained_recipe import hidden

NAME = "org/noise-e6"


@pytest.fixture
def token(tmp_path: Path) -> list[str]:
    """The option that names a token."""
    (tmp_path / "token").write_text("hf_good\n")
    return ["--token_file", str(tmp_path / "token")]


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    """A recording."""
    samples = np.random.default_rng(0).normal(size=SAMPLE_RATE) * 0.1
    soundfile.write(tmp_path / "clip.wav", samples, SAMPLE_RATE)
    return tmp_path / "clip.wav"


def translate_here(system: Path, clip: Path) -> list[Translation]:
    """What the experiment itself writes, with the search that it was decoded with and a package keeps."""
    return Speech2Text.from_pretrained(system, config=SearchConfig(beam_size=2))(clip)


def test_a_system_is_pushed_and_loaded_by_its_name_and_revision(
    hub: FakeHub, scored: Path, token: list[str], clip: Path, recipe: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    expected = translate_here(scored / "e6", clip)
    words = ["--exp_dir", str(scored / "e6"), "--push", NAME, "--include_llm", "true", "--license", "cc-by-4.0", *token]
    export.main([*words, "--tag", "v1"])
    first = hub.names[NAME, "v1"]
    assert set(hub.tokens) == {"Bearer hf_good"}
    files = hub.pages[NAME][first]
    assert {"README.md", "config.yaml", "model.safetensors", "ctc/config.yaml", "ctc/model.safetensors"} <= set(files)
    assert not [name for name in files if name.endswith((".pth", ".py", ".bin"))]
    lines = [line for name in files if name.endswith((".yaml", ".json")) for line in files[name].splitlines()]
    assert [line for line in lines if str(recipe.root).encode() in line] == []  # nothing of the machine goes along

    export.main(["--exp_dir", str(scored / "e5"), *words[2:]])  # another model on the same page
    assert hub.names[NAME, "main"] != first
    with hidden(recipe.root / "llm"), hidden(recipe.root / "ctc"):
        found = Speech2Text.from_pretrained(NAME, revision="v1")
        assert found(clip) == expected
        assert found.folder.name == first
        assert translate.main(["--model", NAME, "--revision", "v1", "--segmentation", "even", str(clip)]) == 0
        assert capsys.readouterr().out == f"{clip}\t{expected[0].text}\n"
    with pytest.raises(
        ValueError, match="org/noise-e6: it has a tag v1 already, which stays where it is; give another --tag"
    ):
        export.main([*words, "--tag", "v1"])


def test_what_is_no_longer_part_of_a_page_goes(hub: FakeHub, scored: Path, token: list[str]) -> None:
    words = ["--exp_dir", str(scored / "e6"), "--include_llm", "true", "--license", "cc0-1.0", *token]
    hub.add(NAME, {"old.txt": b"", "config.yaml": b""})
    export.main([*words, "--push", NAME])
    files = hub.pages[NAME][hub.names[NAME, "main"]]
    assert "old.txt" not in files and files["config.yaml"]


def test_what_the_hub_or_the_licence_forbids_is_said(
    hub: FakeHub, scored: Path, tmp_path: Path, token: list[str]
) -> None:
    words = ["--exp_dir", str(scored / "e6"), "--include_llm", "true"]
    with pytest.raises(ValueError, match="--push 'noise': expected ORGANISATION/NAME or USER/NAME"):
        export.main([*words, "--push", "noise", *token])
    with pytest.raises(ValueError, match="no licence is given, .*; give --license, such as"):
        export.main([*words, "--push", NAME, *token])
    (tmp_path / "token").write_text("hf_of_a_stranger")
    with pytest.raises(ValueError, match="org/noise-e6: the hub takes nothing from you there: give a token with write"):
        export.main([*words, "--push", NAME, "--license", "cc0-1.0", *token])
    assert NAME not in hub.pages


def test_a_page_can_be_looked_at_first_and_is_what_would_be_pushed(scored: Path, tmp_path: Path, clip: Path) -> None:
    export.main(["--exp_dir", str(scored / "e6"), "--hub_dir", str(tmp_path / "page"), "--include_llm", "true"])
    assert Speech2Text.from_pretrained(tmp_path / "page")(clip) == translate_here(scored / "e6", clip)
    assert (tmp_path / "page/README.md").is_file()


def test_the_name_of_a_folder_is_refused_where_it_would_not_be_read(
    scored: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["--exp_dir", str(scored / "e6"), "--include_llm", "true", "--name", "lab/e6"]
    with pytest.raises(SystemExit):
        export.main([*command, "--push", "lab/other"])
    assert "--name goes with --hub_dir" in capsys.readouterr().err
    export.main([*command, "--hub_dir", str(tmp_path / "folder")])
    assert "lab/e6" in (tmp_path / "folder/README.md").read_text()


def test_a_page_that_would_work_on_this_machine_only_is_refused(
    scored: Path, tmp_path: Path, recipe: Any, edit_settings: Any
) -> None:
    words = ["--hub_dir", str(tmp_path / "page"), "--license", "cc0-1.0"]
    with pytest.raises(
        ValueError, match="llm.json: path: '/.*tiny' is outside the package. On another machine it is not"
    ):
        export.main(["--exp_dir", str(scored / "e6"), *words])
    shutil.copytree(scored / "e6", tmp_path / "e6")
    shutil.copytree(recipe.root / "llm", tmp_path / "llm")
    record = json.loads((tmp_path / "llm/llm.json").read_text())
    shutil.copytree(record["path"], tmp_path / "llm/model")
    (tmp_path / "llm/model/pytorch_model.bin").touch()
    (tmp_path / "llm/llm.json").write_text(json.dumps({**record, "path": "model"}))
    edit_settings(tmp_path / "e6", llm_dir=str(tmp_path / "llm"))
    with pytest.raises(
        ValueError, match="llm/model/pytorch_model.bin would not be read from a hub, where only safetens"
    ):
        export.main(["--exp_dir", str(tmp_path / "e6"), "--include_llm", "true", *words])
    assert not (tmp_path / "page").exists()


def test_an_llm_of_the_hub_stays_there_and_lends_its_licence(
    hub: FakeHub, scored: Path, tmp_path: Path, recipe: Any, tiny_llm: Path, token: list[str], clip: Path,
    edit_settings: Any,
) -> None:  # fmt: skip
    shutil.copytree(tiny_llm, tmp_path / "published")
    (tmp_path / "published/README.md").write_text("---\nlicense: other\nlicense_name: llama3.2\n---\n\nTiny.\n")
    commit = hub.add_folder("org/tiny", tmp_path / "published")
    shutil.copytree(scored / "e6", tmp_path / "e6")
    record = json.loads((recipe.root / "llm/llm.json").read_text())
    (tmp_path / "llm").mkdir()
    (tmp_path / "llm/llm.json").write_text(json.dumps({**record, "path": "org/tiny", "revision": commit}))
    edit_settings(tmp_path / "e6", llm_dir=str(tmp_path / "llm"))
    export.main(["--exp_dir", str(tmp_path / "e6"), "--push", NAME, *token])
    card = hub.pages[NAME][hub.names[NAME, "main"]]["README.md"].decode()
    about = yaml.safe_load(card.split("---\n")[1])
    assert about["base_model"] == "org/tiny" and about["license"] == "llama3.2"
    assert f"* LLM: `org/tiny` at revision `{commit}`, licence llama3.2." in card
    assert Speech2Text.from_pretrained(NAME)(clip) == translate_here(scored / "e6", clip)
