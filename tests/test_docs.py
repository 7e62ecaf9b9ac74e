"""What the documents say is what there is."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

import antiphon
from antiphon import cli, methods, recipes

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "src" / "antiphon"


def test_the_file_tree_names_every_room():
    tree = README.partition("## Where things are")[2].partition("## Licence")[0]
    named = set(re.findall(r"^ +([a-z_]+(?:\.py|/))", tree, re.M)) | {"datasets/", "encoders/"}
    rooms = {
        path.name + ("/" if path.is_dir() else "")
        for path in PACKAGE.iterdir()
        if (path.suffix == ".py" or path.is_dir()) and "__pycache__" not in path.name
    }
    assert rooms <= named, rooms - named
    for name in named - rooms:
        assert (ROOT / name).exists(), name


@pytest.mark.parametrize("folder", ["datasets", "encoders", "methods"])
def test_the_file_tree_names_every_data_set_encoder_and_method(folder):
    (line,) = re.findall(rf"^ +{folder}/ .*$", README, re.M)
    for path in (PACKAGE / folder).iterdir():
        if path.name[0] not in "_." and (path.suffix == ".py" or (path / "__init__.py").exists()):
            assert path.stem in line, path


def test_every_verb_and_recipe_is_in_the_readme():
    for verb in cli._VERBS:
        assert re.search(rf"antiphon {verb}|make {verb}", README), verb
    changes = (ROOT / "CHANGELOG.md").read_text()
    for recipe in recipes.names():
        assert f"`{recipe}`" in changes


def test_every_method_and_recipe_is_in_the_page_of_methods():
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    rows = {row.split("|")[1].strip(): row for row in page.splitlines() if row.startswith("| `")}
    assert {name.strip("`") for name in rows} == set(methods.names())
    for name in recipes.names():
        settings = yaml.safe_load((recipes.FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
        method = settings["method"]["class_path"].rpartition(".")[2]
        assert f"`{name}`" in rows[f"`{method}`"], name


def test_links_lead_somewhere():
    for name in (
        "README.md",
        "CONTRIBUTING.md",
        "docs/architecture.md",
        "docs/datasets.md",
        "docs/listening-room.md",
        "docs/results.md",
        "docs/thesis.md",
    ):
        text = (ROOT / name).read_text(encoding="utf-8")
        for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
            assert ((ROOT / name).parent / target).exists(), (name, target)
        for target in re.findall(r"`((?:src|docs|scripts|tests)/[\w./]+)`", text):
            assert (ROOT / target).exists(), (name, target)


def test_the_pythons_example_runs(tmp_path, monkeypatch, capsys):
    """As written, but for the number of steps."""
    (example,) = re.findall(r"```python\n(.*?)```", README, re.S)
    monkeypatch.chdir(tmp_path)
    assert len([line for line in example.splitlines() if line.strip()]) <= 12
    exec(example.replace('"train.steps": 20', '"train.steps": 2'), {})
    assert "retrieval map" in capsys.readouterr().out
    assert (tmp_path / "runs/first/report.html").exists()


def test_commands_in_the_readme_are_real():
    for verb, words in re.findall(r"antiphon (\w+)([^\n`#]*)", README):
        if verb in cli._VERBS:
            for option in re.findall(r"--([\w.]+)", words):
                assert option in {
                    "out", "recipe", "train.steps", "help", "budget", "layer", "save",
                }, option  # fmt: skip


def test_the_version_is_one():
    assert f'version = "{antiphon.__version__}"' in (ROOT / "pyproject.toml").read_text()
