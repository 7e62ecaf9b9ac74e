"""What the documents say is what there is."""

from __future__ import annotations

import re
import shlex
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import antiphon
from antiphon import cli, methods, recipes
from antiphon.options import Parser

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
PACKAGE = ROOT / "src" / "antiphon"
THESIS = (ROOT / "docs" / "thesis.md").read_text(encoding="utf-8")
STUDIES = (ROOT / "docs" / "studies.md").read_text(encoding="utf-8")


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
        "docs/similarity.md",
        "docs/studies.md",
        "docs/tagging.md",
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


def commands(page):
    """Every call of antiphon that a page shows, on lines of their own or in a sentence."""
    joined = page.replace("\\\n", " ")
    whole = re.findall(r"(?m)^    (antiphon [^#\n]*)", joined)
    within = re.findall(r"`(antiphon [^`]*)`", joined.replace("\n", " "))
    return [" ".join(command.split()) for command in [*whole, *within]]


class Parsed(Exception):
    """The words were understood; what would be done isn't."""


@pytest.fixture
def parse(monkeypatch):
    """What a command line gives each option, without doing any of it."""

    def stop(parser, found, **_):
        raise Parsed(found)

    monkeypatch.setattr(Parser, "instantiate", stop)

    def parsed(command):
        try:
            status = cli.main(shlex.split(command)[1:])
        except Parsed as found:
            return found.args[0]
        assert status == 0, command  # a verb that takes no options, such as list
        return None

    return parsed


@pytest.mark.parametrize("page", ["thesis", "studies", "tagging"])
def test_the_commands_of_a_page_can_be_parsed(page, parse):
    found = commands((ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8"))
    assert len(found) > 4
    for command in found:
        verb = command.split()[1]
        if page == "studies" and command in commands(THESIS):
            continue
        if verb in cli._VERBS:
            parse(command)
        else:
            assert verb in {"look", "listen"}, command  # their own branches are not here yet


def test_a_wrong_option_is_seen_by_that(parse, capsys):
    with pytest.raises(SystemExit):
        parse("antiphon study batch-size demo --adam_bellow 96")
    assert "did you mean --adam_below?" in capsys.readouterr().err


def test_the_theses_commands_are_one_list():
    """In the page of studies together, in the thesis's page piece by piece."""
    scale = STUDIES.partition("## At the thesis's scale")[2]
    studies = [c for c in commands(scale) if c.startswith("antiphon study ") and "PATH" in c]
    assert studies == [c for c in commands(THESIS) if c.startswith("antiphon study ")]
    for command in studies:
        for needed in ("--budget", "--probes", "--recipe", "--out runs/"):
            assert needed in command, command
    folders = [command.split()[-1] for command in studies]
    assert len(set(folders)) == len(folders)


def test_every_table_and_figure_of_the_thesis_has_its_place():
    numbers = ["1.1", "2.1", "2.2", "2.3", "2.4", "3.2", "4.1", "4.2", "5.1"]
    for number in [*numbers, *(f"6.{n}" for n in range(1, 7))]:
        assert re.search(rf"\b{re.escape(number)}\b", THESIS), number
    rows = THESIS.partition("## Figures 7.1 to 7.8")[2].partition("\n## ")[0]
    for n in range(1, 9):
        assert re.search(rf"(?m)^\| 7\.{n}\b.*`antiphon (look|listen) ", rows), n


def test_the_published_figures_of_page_and_studies_are_the_same():
    for name in ("batch_size", "sample_rate", "temperature", "duration", "transfer"):
        known = import_module(f"antiphon.studies.{name}")._PUBLISHED
        for key, value in known.items():
            for score in value.values() if isinstance(value, dict) else [value]:
                assert f"{100 * score:.2f}" in THESIS, (name, key)
    from antiphon.studies.label_efficiency import _PUBLISHED

    table = THESIS.partition("## Figures 6.5 and 6.6")[2]
    for data, shares in _PUBLISHED.items():
        for arm, named in enumerate(("CLMR", "supervised")):
            (row,) = re.findall(rf"(?m)^\| 6\.\d, {data.upper()}, {named} \|(.*)\|$", table)
            found = [float(cell) for cell in row.split("|")]
            assert found == pytest.approx([100 * scores[arm] for scores in shares.values()])


def test_the_version_is_one():
    assert f'version = "{antiphon.__version__}"' in (ROOT / "pyproject.toml").read_text()
