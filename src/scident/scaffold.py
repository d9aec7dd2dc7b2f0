"""Write a new plug-in: a complete small example of its kind under the user's name."""

import keyword
import re
from pathlib import Path

from scident import registry
from scident.errors import PluginError, nearest

NAME = r"[a-z][a-z0-9_]*"
KINDS = {kind.removesuffix("s"): kind for kind in registry.INFO_CLASSES}
"""What the user says to the folder it lies in."""

SHARED = {"dataset": ("datasets", "simulators"), "simulator": ("datasets", "simulators")}
"""Kinds whose names stand under one config key."""


def write_template(kind: str, name: str, folder: Path | None = None) -> str:
    """Write the template of a plug-in and return what to do next.

    Parameters
    ----------
    kind
        model, metric, dataset, simulator or split.
    name
        Its file name without ``.py``, which is also its name in the configuration.
    folder
        Where to write; None: the package's own folder if the package lies in a checkout, else the working directory.

    Raises
    ------
    PluginError
        The kind is unknown, the name is not one or is taken, or the file exists.
    """
    if kind not in KINDS:
        raise PluginError(f"there is no kind of plug-in called {kind!r}; known: {sorted(KINDS)}.{nearest(kind, KINDS)}")
    _check_name(kind, name)
    inside = folder is None and (registry.PACKAGE.parents[1] / "pyproject.toml").is_file()
    path = (registry.PACKAGE / KINDS[kind] if inside else folder or Path()) / f"{name}.py"
    if path.exists():
        raise PluginError(f"{path} exists already; choose another name or remove it")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_filled(kind, name))
    return "\n".join(_next_steps(kind, name, path, inside))


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(NAME, name) or keyword.iskeyword(name) or name == "base":
        raise PluginError(
            f"{name!r} cannot be the name of a {kind}: it becomes a file and a config key, so it starts with a "
            "lower-case letter, goes on with such letters, digits or '_', and is neither 'base' nor a word of Python"
        )
    for folder in SHARED.get(kind, (KINDS[kind],)):
        if name in registry.known(folder):
            raise PluginError(f"the name {name!r} is taken by {folder}/{name}.py; choose another")


def _filled(kind: str, name: str) -> str:
    text = (registry.PACKAGE / "templates" / f"{kind}.py").read_text()
    words = "".join(word.capitalize() for word in name.split("_"))
    return text.replace("Template", words).replace('"template"', f'"{name}"')


def _next_steps(kind: str, name: str, path: Path, inside: bool) -> list[str]:
    section = SHARED[kind][0] if kind in SHARED else KINDS[kind]
    lines = [f"wrote {path}", "add to the configuration:"]
    if not inside:
        lines.append(f"  plugins: [{path}]")
    lines += [f"  {section}:", f"    {name}:", f"read docs/add-a-{kind}.md"]
    test = f"pytest tests/contract -k {name}"
    lines.append(f"test it: {test}" if inside else f"test it in a checkout, once the file lies in src/scident: {test}")
    return lines
