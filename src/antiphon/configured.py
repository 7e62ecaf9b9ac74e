"""Objects that remember how they were made, so that a run can write it down and do it again."""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from typing import Any, TypeVar

T = TypeVar("T")


class Configured:
    """Remembers the arguments of its constructor, defaults included, as ``self.arguments``."""

    arguments: dict[str, Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if "__init__" not in cls.__dict__:
            return
        original = cls.__init__
        signature = inspect.signature(original)

        @functools.wraps(original)
        def remembering(self: Configured, *args: Any, **kwargs: Any) -> None:
            if "arguments" not in self.__dict__:  # the outermost constructor is the one to repeat
                bound = signature.bind(self, *args, **kwargs)
                bound.apply_defaults()
                object.__setattr__(self, "arguments", dict(list(bound.arguments.items())[1:]))
            original(self, *args, **kwargs)

        cls.__init__ = remembering  # type: ignore[assignment]


def describe(value: Any) -> Any:
    """An object as ``class_path`` and ``init_args`` (the CLI's own form), all the way down."""
    if isinstance(value, Configured):
        path = f"{type(value).__module__}.{type(value).__qualname__}"
        return {"class_path": path, "init_args": describe(value.arguments)}
    if isinstance(value, dict):
        return {key: describe(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [describe(item) for item in value]
    return value


def build(description: dict[str, Any], **extra: Any) -> Any:
    """The object that :func:`describe` described.

    Args:
        description: ``class_path`` and ``init_args``.
        extra: further arguments, for instance a method's encoder.

    Raises:
        ValueError: there is no such class.
    """
    module, _, name = description["class_path"].rpartition(".")
    try:
        made_of = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError, ValueError):
        raise ValueError(f"there is no class {description['class_path']!r} to import") from None
    return made_of(**_rebuild(description.get("init_args") or {}), **extra)


def _rebuild(value: Any) -> Any:
    if isinstance(value, dict):
        return build(value) if "class_path" in value else {k: _rebuild(v) for k, v in value.items()}
    return [_rebuild(item) for item in value] if isinstance(value, list) else value


def discover(package: str, base: type[T]) -> dict[str, type[T]]:
    """The public classes under ``base`` in a package's files: their existence is enough."""
    found: dict[str, type[T]] = {}
    for info in pkgutil.iter_modules(importlib.import_module(package).__path__):
        module = importlib.import_module(f"{package}.{info.name}")
        for name, value in vars(module).items():
            own = getattr(value, "__module__", None) == module.__name__
            if own and inspect.isclass(value) and issubclass(value, base) and name[0] != "_":
                found[name] = value
    return found
