"""Options from signatures: what a function or class takes is what the command line takes.

The types, defaults and docstrings of the library are the only schema; a misspelt option is
answered with the right ones.
"""

from __future__ import annotations

import importlib
import inspect
import itertools
import re
import sys
from collections.abc import Callable, Sequence
from types import UnionType
from typing import Any, NoReturn, Union, get_args, get_origin

from jsonargparse import ArgumentParser

from antiphon.files import near


class Parser(ArgumentParser):
    """jsonargparse's parser, with errors of a few lines that name the right options."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong and what would be right, and stop with status 2."""
        if not self.exit_on_error:
            super().error(message, ex)
        known = sorted(option for option in self._option_string_actions if option[:2] == "--")
        text = teach(message, known, self._classes())
        print(f"{self.prog}: {text}\n`{self.prog} --help` explains every option.", file=sys.stderr)
        raise SystemExit(2)

    def _classes(self) -> dict[str, str]:
        found = {}
        for action in self._actions:
            text = str(action.help or "")
            if match := re.search(r"known subclasses: ([^)]*)", self._expand_help(action) or text):
                found[action.dest] = match[1]
        return found

    def _expand_help(self, action: Any) -> str:
        try:
            return self._get_formatter()._expand_help(action)
        except Exception:
            return ""


def teach(message: str, known: list[str], classes: dict[str, str]) -> str:
    """A short error for a long one.

    Args:
        message: what the parser says.
        known: the options there are.
        classes: for each option that takes a class, the classes it knows.
    """
    keys = re.findall(r'Parser key "([^"]+)"', message)
    key = keys[0] if keys else ""
    if match := re.search(r"class_path '([^']+)':\s+Option '([^']+)' is not accepted", message):
        path, option = match[1], match[2]
        there = [name for name in _arguments_of(path) if name != "encoder"]
        takes = ", ".join(f"--{key}.{name}" for name in there) or "no options"
        meant = near(option, there, f"--{key}.")
        return f"{path.rpartition('.')[2]} takes no {option!r}{meant}\nit takes: {takes}"
    if match := re.search(r"Expected a dot import path string: (\S+)", message):
        names = [c.strip().rpartition(".")[2] for c in classes.get(key, "").split(",") if c.strip()]
        names = [name for name in names if name not in {"Encoder", "Method"} and name[0] != "_"]
        return (
            f"--{key}: there is no class {match[1]!r}{near(match[1], names)}\n"
            f"there are: {', '.join(names)}, or yours as my.module.Mine"
        )
    if match := re.search(r"nrecognized arguments: (.+)", message):
        word = next((w for w in match[1].split() if w.startswith("-")), match[1].split()[0])
        option = word.partition("=")[0]
        return f"there is no option {option!r}{near(option, known)}{_siblings(option, known)}"
    if match := re.search(r"Group '([^']+)' does not accept option '([^']+)'", message):
        option = f"--{match[1]}.{match[2]}"
        return f"there is no setting {option[2:]!r}{near(option, known)}{_siblings(option, known)}"
    if match := re.search(r"Option '([^']+)' is not accepted", message):
        option = f"--{match[1]}"
        return f"there is no setting {match[1]!r}{near(option, known)}{_siblings(option, known)}"
    if match := re.search(r"arguments are required: (.+)", message):
        needed = match[1].split(", ")
        if "method" in needed:
            return "say what to train: --recipe NAME, or --encoder and --method"
        dashed = [f"--{name}" if f"--{name}" in known else name.upper() for name in needed]
        return f"these are needed: {', '.join(dashed)}"
    if keys and (cause := _cause(_innermost(message))):
        return f"--{'.'.join(keys)}: {cause}"
    return message.strip()


def _innermost(message: str) -> list[str]:
    """What is said of the last key that is named: the lines that are indented under it."""
    lines = message.splitlines()
    at = max(number for number, line in enumerate(lines) if 'Parser key "' in line)
    under = itertools.takewhile(lambda line: _indent(line) > _indent(lines[at]), lines[at + 1 :])
    return list(under)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" -"))


def _cause(lines: list[str]) -> str:
    """The innermost reason of a value that doesn't fit, in a line."""
    lines = [line.strip(" -") for line in lines]
    reasons = [line for line in lines if line and not line.startswith(("Subtypes", "Errors"))]
    given = next((r.partition(": ")[2] for r in reasons if r.startswith("Given value:")), None)
    wanted = [
        re.sub(r"<class '(?:\w+\.)*(\w+)'>", r"\1", r)
        for r in reasons
        if not r.startswith(("Given value", "Does not validate"))
    ]
    text = "; ".join(dict.fromkeys(wanted))
    return f"{text} (given: {given})" if given and given not in text else text


def _arguments_of(class_path: str) -> list[str]:
    module, _, name = class_path.rpartition(".")
    return list(inspect.signature(getattr(importlib.import_module(module), name)).parameters)


def _siblings(option: str, known: list[str]) -> str:
    group = option.partition(".")[0] + "."
    if "." not in option or not any(k.startswith(group) for k in known):
        mine = [k for k in known if "." not in k and not k.endswith(("_config",))]
    else:
        mine = [k for k in known if k.startswith(group) and not k.endswith(".help")]
    return "\nthere are: " + ", ".join(mine)


def call(
    prog: str,
    about: str,
    function: Callable[..., Any],
    words: list[str],
    positional: dict[str, dict[str, Any]],
) -> Any:
    """Parse a verb's words by a function's signature, and call it.

    Args:
        prog: the verb as typed.
        about: a line for ``--help``.
        function: what the verb stands for.
        words: the command line after the verb.
        positional: arguments without dashes: their names, and what argparse should know of them.
    """
    parser = Parser(prog=prog, description=about)
    for name, options in positional.items():
        parser.add_argument(name, **options)
    parser.add_function_arguments(function, skip={*positional, "progress"}, as_positional=False)
    flags = [n for n, p in inspect.signature(function).parameters.items() if p.default is False]
    for action in parser._actions:
        if action.dest in flags:  # --windows alone means --windows true
            action.nargs, action.const = "?", True
    words = _bracketed(words, [a.option_strings[0] for a in parser._actions if _takes_list(a)])
    return function(**vars(parser.instantiate(parser.parse_args(words))))


def _takes_list(action: Any) -> bool:
    kind = getattr(action, "_typehint", None)
    kinds = get_args(kind) if get_origin(kind) in (Union, UnionType) else (kind,)
    return any(get_origin(k) in (list, tuple, Sequence) for k in kinds)


def _bracketed(words: Sequence[str], lists: Sequence[str]) -> list[str]:
    """Lists as a person types them.

    >>> _bracketed(["--probes", "knn,mlp", "--seeds", "1"], ["--probes"])
    ['--probes', '[knn,mlp]', '--seeds', '1']
    >>> _bracketed(["--probes=knn", "--probes", "[mlp]"], ["--probes"])
    ['--probes=[knn]', '--probes', '[mlp]']
    """
    found: list[str] = []
    for word in words:
        option, equals, value = word.partition("=")
        if option in lists and equals and value[:1] != "[" and value != "null":
            word = f"{option}=[{value}]"
        elif found and found[-1] in lists and word[:1] not in "[-" and word != "null":
            word = f"[{word}]"
        found.append(word)
    return found
