"""Options from signatures: what a function or class takes is what the command line takes.

The types, defaults and docstrings of the library are the only schema; a misspelt option is
answered with the right ones.
"""

from __future__ import annotations

import difflib
import importlib
import inspect
import re
import sys
from collections.abc import Callable
from typing import Any, NoReturn

from jsonargparse import ArgumentParser


class Parser(ArgumentParser):
    """jsonargparse's parser, with errors of a few lines that name the right options."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"allow_abbrev": False, **kwargs})

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Say what is wrong and what would be right, and stop with status 2."""
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
    key = match[1] if (match := re.search(r'Parser key "([^"]+)"', message)) else ""
    if match := re.search(r"class_path '([^']+)':\s+Option '([^']+)' is not accepted", message):
        path, option = match[1], match[2]
        there = [name for name in _arguments_of(path) if name != "encoder"]
        return (
            f"{path.rpartition('.')[2]} takes no {option!r}{_near(option, there)}\n"
            f"it takes: {', '.join(f'--{key}.{name}' for name in there)}"
        )
    if match := re.search(r"Expected a dot import path string: (\S+)", message):
        names = [c.strip().rpartition(".")[2] for c in classes.get(key, "").split(",") if c.strip()]
        names = [name for name in names if name not in {"Encoder", "Method"} and name[0] != "_"]
        return (
            f"--{key}: there is no class {match[1]!r}{_near(match[1], names)}\n"
            f"there are: {', '.join(names)}, or yours as my.module.Mine"
        )
    if match := re.search(r"nrecognized arguments: (.+)", message):
        word = next((w for w in match[1].split() if w.startswith("-")), match[1].split()[0])
        option = word.partition("=")[0]
        return f"there is no option {option!r}{_near(option, known)}{_siblings(option, known)}"
    if match := re.search(r"Group '([^']+)' does not accept option '([^']+)'", message):
        option = f"--{match[1]}.{match[2]}"
        return f"there is no setting {option[2:]!r}{_near(option, known)}{_siblings(option, known)}"
    if match := re.search(r"Option '([^']+)' is not accepted", message):
        option = f"--{match[1]}"
        return f"there is no setting {match[1]!r}{_near(option, known)}{_siblings(option, known)}"
    if match := re.search(r"arguments are required: (.+)", message):
        needed = match[1].split(", ")
        if "method" in needed:
            return "say what to train: --recipe NAME, or --encoder and --method"
        dashed = [f"--{name}" if f"--{name}" in known else name.upper() for name in needed]
        return f"these are needed: {', '.join(dashed)}"
    if key and (cause := _cause(message)):
        return f"--{key}: {cause}"
    return message.strip()


def _cause(message: str) -> str:
    """The innermost reason of a value that doesn't fit, in a line."""
    lines = [line.strip(" -") for line in message.splitlines()]
    reasons = [line for line in lines[1:] if line and not line.startswith(("Subtypes", "Errors"))]
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


def _near(word: str, known: list[str]) -> str:
    close = difflib.get_close_matches(word, known, n=2, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


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
    return function(**vars(parser.instantiate(parser.parse_args(words))))
