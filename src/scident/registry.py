"""Find a plug-in by its file name: `use: pca` is ``models/pca.py``, in the package, in a user's folder or installed."""

import ast
import hashlib
import importlib
import importlib.metadata
import importlib.util
import sys
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

from scident import info as declarations
from scident.errors import PluginError, nearest

INFO_CLASSES = {
    "datasets": "DatasetInfo",
    "simulators": "SimulatorInfo",
    "splits": "SplitInfo",
    "models": "ModelInfo",
    "metrics": "MetricInfo",
}
NESTED = ("File", "Columns", "Size")
"""Declarations that may stand among the literals of an ``info``."""
PACKAGE = Path(__file__).parent
_plugins: dict[tuple[str, str], Path] = {}


def register(paths: Iterable[str | Path]) -> None:
    """Add plug-in files from outside the package; the class of a file's ``info`` says what kind it is.

    Raises
    ------
    PluginError
        A file is missing, declares no ``info``, or takes the name of another plug-in of its kind.
    """
    for path in map(Path, paths):
        if not path.is_file():
            raise PluginError(f"plugins: no file {str(path)!r}; paths count from the folder where you run the command")
        found = _info_call(path)
        kind = next((k for k, c in INFO_CLASSES.items() if c == _class_name(found)), None)
        if found is None or kind is None:
            raise PluginError(
                f"plugins: {str(path)!r} must hold `info = <one of {sorted(INFO_CLASSES.values())}>(...)`"
            )
        taken = _taken(kind, path.stem)
        if taken is not None and taken.resolve() != path.resolve():
            raise PluginError(
                f"plugins: {str(path)!r} takes the name of {taken.parent.name}/{taken.name}; rename the file"
            )
        _plugins[kind, path.stem] = path.resolve()


def _taken(kind: str, name: str) -> Path | None:
    """Return the file that has a name already; datasets and simulators share theirs, as entries of one config key."""
    kinds = ("datasets", "simulators") if kind in {"datasets", "simulators"} else (kind,)
    return next((files[name] for files in map(_files, kinds) if name in files), None)


def known(kind: str) -> list[str]:
    """Return the names of all plug-ins of a kind."""
    return sorted(_files(kind))


def path_of(kind: str, name: str) -> Path:
    """Return the file of a plug-in.

    Raises
    ------
    PluginError
        There is none of that name; the message lists the known ones and the nearest.
    """
    files = _files(kind)
    if name not in files:
        raise PluginError(f"no {kind} {name!r}; known: {sorted(files)}.{nearest(name, files)}")
    return files[name]


def load(kind: str, name: str) -> ModuleType:
    """Import a plug-in's file and return the module."""
    path = path_of(kind, name)
    if path.is_relative_to(PACKAGE):
        return importlib.import_module(f"scident.{kind}.{name}")
    module_name = f"scident_plugin_{kind}_{name}"
    if module_name not in sys.modules:
        spec = importlib.util.spec_from_file_location(module_name, path)
        if spec is None or spec.loader is None:
            raise PluginError(f"plugins: {str(path)!r} is not a Python file")
        module = importlib.util.module_from_spec(spec)
        sys.modules[module_name] = module
        try:
            spec.loader.exec_module(module)
        except Exception as error:
            del sys.modules[module_name]
            raise PluginError(f"plugins: {str(path)!r} fails on import: {type(error).__name__}: {error}") from error
    return sys.modules[module_name]


def describe(kind: str, name: str) -> declarations.Info:
    """Read what a plug-in declares about itself, without importing it."""
    path = path_of(kind, name)
    call = _info_call(path)
    if call is None or _class_name(call) != INFO_CLASSES[kind]:
        raise PluginError(f"{path.name}: a file of {kind} must hold `info = {INFO_CLASSES[kind]}(...)`")
    try:
        found: declarations.Info = getattr(declarations, INFO_CLASSES[kind])(**_arguments(call))
    except (ValueError, TypeError) as error:
        raise PluginError(f"{path.name}: the arguments of `info` must be known literals: {error}") from error
    return found


def code_digest(kind: str, name: str, stage: str) -> str:
    """Hash the code a result of this plug-in depends on: its file, what that imports, and the stage.

    Plumbing (configuration, files, logging) is left out: it moves no number.
    """
    return _digest([path_of(kind, name), PACKAGE / "stages" / f"{stage}.py"])


def stage_digest(stage: str) -> str:
    """Hash the code of a stage that calls no plug-in."""
    templates = (PACKAGE / "report" / "templates").iterdir() if stage == "report" else ()
    return _digest([PACKAGE / "stages" / f"{stage}.py", *templates])


def _digest(start: list[Path]) -> str:
    content = hashlib.sha256()
    for path in sorted(_reachable([p for p in start if p.suffix == ".py"]) | {p for p in start if p.is_file()}):
        content.update(path.read_bytes())
    return content.hexdigest()[:16]


NUMERIC = (*INFO_CLASSES, "engine", "aggregate", "report", "stages", "rng", "selection", "expression", "preparation")


def _reachable(start: list[Path]) -> set[Path]:
    seen: set[Path] = set()
    todo = list(start)
    while todo:
        path = todo.pop()
        if path in seen or not path.is_file():
            continue
        seen.add(path)
        todo.extend(_imports(path))
    return seen


@cache
def _imports(path: Path) -> list[Path]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    parts = [n.split(".")[1:] for n in names if n.startswith("scident.")]
    return [PACKAGE.joinpath(*p).with_suffix(".py") for p in parts if p and p[0] in NUMERIC]


def _files(kind: str) -> dict[str, Path]:
    inside = {p.stem: p for p in (PACKAGE / kind).glob("[!_]*.py") if p.stem != "base"}
    return _installed(kind) | inside | {name: path for (k, name), path in _plugins.items() if k == kind}


@cache
def _installed(kind: str) -> dict[str, Path]:
    found = {}
    for entry in importlib.metadata.entry_points(group=f"scident.{kind}"):
        spec = importlib.util.find_spec(entry.module)
        if spec is not None and spec.origin is not None:
            found[entry.name] = Path(spec.origin)
    return found


def _info_call(path: Path) -> ast.Call | None:
    try:
        tree = ast.parse(path.read_text())
    except (SyntaxError, UnicodeDecodeError) as error:
        raise PluginError(f"plugins: {str(path)!r} is not Python: {error}") from error
    for node in tree.body:
        named = isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "info" for t in node.targets)
        if named and isinstance(node, ast.Assign) and isinstance(node.value, ast.Call):
            return node.value
    return None


def _arguments(call: ast.Call) -> dict[str, Any]:
    return {k.arg: _literal(k.value) for k in call.keywords if k.arg}


def _literal(node: ast.expr) -> Any:
    """Evaluate a literal, in which a declaration such as ``File(...)`` may stand for a value."""
    if isinstance(node, ast.Tuple):
        return tuple(map(_literal, node.elts))
    if isinstance(node, ast.Call) and _class_name(node) in NESTED and not node.args:
        return getattr(declarations, str(_class_name(node)))(**_arguments(node))
    return ast.literal_eval(node)


def _class_name(call: ast.Call | None) -> str | None:
    return call.func.id if call is not None and isinstance(call.func, ast.Name) else None
