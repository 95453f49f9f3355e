"""One registry for tasks, methods and engines.

A registry knows its built-in modules by file name (`rewards/methods/entropy_adv.py` is `entropy-adv`) and reads their
summary by parsing, not importing, so that `rlfr-eval list` answers without torch. Other people's packages join through
an entry-point group, a single file through `load_plugin`.
"""

from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
import re
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from harness.core.errors import ConfigError, UnknownNameError, near

T = TypeVar("T", bound=type)
_KEY = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


@dataclass(frozen=True, slots=True)
class Entry:
    """What is known of a name before its module is imported. `facts` are the literal class attributes."""

    key: str
    origin: str
    summary: str
    facts: dict[str, Any]
    load: Callable[[], Any]


class Registry(Generic[T]):
    """Names to classes of one kind. `package` holds the built-in modules, `group` the entry points of others."""

    def __init__(self, kind: str, package: str, group: str = "") -> None:
        self.kind, self.package, self.group = kind, package, group
        self._classes: dict[str, T] = {}
        self._origins: dict[str, str] = {}

    def register(self, key: str) -> Callable[[T], T]:
        """Class decorator. Raises ConfigError for a key that the command line could not name, or one that is taken."""
        if not _KEY.fullmatch(key):
            raise ConfigError(
                f"'{key}' cannot be the key of a {self.kind}", "small letters and digits, joined by '-': my-variant"
            )

        def add(cls: T) -> T:
            origin = f"{cls.__module__}.{cls.__qualname__}"
            if self._origins.get(key, origin) != origin or (
                origin.split(".")[0] != self.package.split(".")[0] and key in self._builtin()
            ):
                taken = self._origins.get(key, f"{self.package}.{_module_name(key)}")
                raise ConfigError(
                    f"{self.kind} '{key}' is registered twice, by {taken} and by {origin}", "rename one of them"
                )
            cls.key = key  # type: ignore[attr-defined]
            self._classes[key], self._origins[key] = cls, origin
            return cls

        return add

    def get(self, name: str) -> T:
        """The class registered under `name`. Raises UnknownNameError with near matches."""
        if name not in self._classes:
            entries = self._declared()
            if name not in entries:
                raise UnknownNameError(f"unknown {self.kind} '{name}'", near(name, {*entries, *self._classes}))
            entries[name].load()
        if name not in self._classes:
            raise ConfigError(
                f"{self.kind} module for '{name}' does not register '{name}'",
                f'decorate the class with register("{name}")',
            )
        return self._classes[name]

    def keys(self) -> list[str]:
        """All names, built in or brought, sorted."""
        return sorted({*self._declared(), *self._classes})

    def entries(self) -> Iterator[Entry]:
        """Every name with its summary, importing no built-in module."""
        declared = self._declared()
        for key in self.keys():
            if key in declared and key not in self._classes:
                yield declared[key]
            else:
                cls = self._classes[key]
                doc = (cls.__doc__ or sys.modules[cls.__module__].__doc__ or "").strip().splitlines()
                facts = {k: v for k, v in vars(cls).items() if isinstance(v, str | int | float | bool | tuple)}
                yield Entry(key, self._origins[key], doc[0] if doc else "", facts, lambda: None)

    def _builtin(self) -> dict[str, Path]:
        spec = importlib.util.find_spec(self.package)
        folder = Path(next(iter(spec.submodule_search_locations or ()))) if spec else Path()
        files = sorted(folder.glob("*.py"))
        mark = re.compile(rf"^@{self.kind}\.register\(", re.MULTILINE)
        return {f.stem.replace("_", "-"): f for f in files if mark.search(f.read_text("utf-8"))}

    def _declared(self) -> dict[str, Entry]:
        found = {key: _parse(key, file, f"{self.package}.{file.stem}") for key, file in self._builtin().items()}
        for point in importlib.metadata.entry_points(group=self.group) if self.group else ():
            if point.name in found:
                raise ConfigError(
                    f"{self.kind} '{point.name}' of package {point.dist and point.dist.name} is taken",
                    "rename its entry point",
                )
            found[point.name] = Entry(point.name, point.value, "(from an installed package)", {}, point.load)
        return found


def _module_name(key: str) -> str:
    return key.replace("-", "_")


def _parse(key: str, file: Path, module: str) -> Entry:
    """Summary (first line of the docstring) and literal class attributes, by parsing only."""
    tree = ast.parse(file.read_text("utf-8"))
    facts: dict[str, Any] = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and node.decorator_list:
            for item in node.body:
                name = (
                    item.target
                    if isinstance(item, ast.AnnAssign)
                    else item.targets[0]
                    if isinstance(item, ast.Assign)
                    else None
                )
                value = item.value if isinstance(item, ast.AnnAssign | ast.Assign) else None
                if isinstance(name, ast.Name) and value is not None:
                    try:
                        facts[name.id] = ast.literal_eval(value)
                    except ValueError:
                        continue
    doc = (ast.get_docstring(tree) or "").strip().splitlines()
    return Entry(key, module, doc[0] if doc else "", facts, lambda: importlib.import_module(module))


def load_plugin(path: str | Path) -> None:
    """Import a user's file, which registers its own tasks or methods. The module's name is stable per file."""
    file = Path(path).resolve()
    if not file.is_file():
        raise ConfigError(f"--plugin {path}: no such file", "give the path of a Python file")
    name = f"rlfr_plugin_{file.stem}"
    loaded = sys.modules.get(name)
    if loaded is not None and loaded.__file__ == str(file):
        return
    if loaded is not None:
        raise ConfigError(f"--plugin {path}: another plug-in is also called {file.name}", "rename one of the files")
    spec = importlib.util.spec_from_file_location(name, file)
    if spec is None or spec.loader is None:
        raise ConfigError(f"--plugin {path}: not a Python file", "give the path of a .py file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
