"""The configuration: what may stand in it, what it means, and one sentence for everything that may not."""

import json
import re
from collections.abc import Iterable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from scident import registry
from scident.errors import ConfigError, PluginError, nearest
from scident.params import Preparation
from scident.sentences import parse

NAME = r"[a-z0-9][a-z0-9_-]*"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Entry(BaseModel):
    """One benchmark entry: a name, the plug-in file it uses, and that plug-in's parameters beside these keys."""

    model_config = ConfigDict(extra="allow", frozen=True)

    use: str | None = Field(None, description="Plug-in file name; default: the entry's own name.")

    @property
    def params(self) -> dict[str, Any]:
        """What is left for the plug-in's own Params."""
        return dict(self.__pydantic_extra__ or {})


class DatasetEntry(Entry):
    """A real dataset (file in ``datasets/``) or a simulated one (file in ``simulators/``)."""

    n_latents: int | None = Field(None, ge=1, description="Latent dimensions every model gets; default: top-level key.")
    replicates: int | None = Field(None, ge=1, description="Overrides the top-level key.")
    prepare: Preparation = Field(
        default_factory=Preparation, description="Which cells and genes of real data are used; default: all."
    )


class SplitEntry(Entry):
    """Which conditions are held out, and how the rest is cut."""

    protocol: Literal["heldout", "released"] = Field(
        "heldout",
        description="heldout: scores on cells nobody fitted on; released: as published code does (in-sample).",
    )


class ModelEntry(Entry):
    """A method, a baseline or a control with parameters."""

    grid: dict[str, list[Any]] = Field(
        default_factory=dict, description="Parameter name to values; every combination is a grid point."
    )
    n_latents: int | None = Field(None, ge=1, description="Overrides the dataset's number of latents.")
    members_per_job: int | None = Field(None, ge=1, description="Overrides the top-level key.")
    datasets: list[str] | None = Field(
        None, min_length=1, description="Entries of `datasets` it runs on; null: all. For ablations of a costly model."
    )
    compared_with: str | None = Field(
        None, description="Entry of `models` its scores are paired with; null: the first of the file it varies."
    )


class MetricEntry(Entry):
    """A score."""


class Config(_Strict):
    """The whole configuration of a benchmark."""

    datasets: dict[str, DatasetEntry] = Field(
        min_length=1, description="Entries: name to {use, n_latents, parameters}."
    )
    splits: dict[str, SplitEntry] = Field(min_length=1, description="Entries: name to {use, protocol, parameters}.")
    models: dict[str, ModelEntry] = Field(
        default_factory=dict, description="Entries: name to {use, grid, parameters}; controls are always added."
    )
    metrics: dict[str, MetricEntry] = Field(min_length=1, description="Entries: name to {use, parameters}.")
    replicates: int = Field(5, ge=1, description="Redrawn worlds (simulators) or redrawn parts (real data).")
    seeds: int = Field(2, ge=1, description="Trainings of each stochastic model per replicate and grid point.")
    n_latents: int = Field(15, ge=1, description="Latent dimensions where a dataset entry names none.")
    plugins: list[str] = Field(default_factory=list, description="Paths of plug-in files outside the package.")
    members_per_job: int | None = Field(
        None, ge=1, description="Most members trained in one job; null: all. Results depend on it only by rounding."
    )
    selection: Literal["val_nelbo", "stability", "heldout_validation", "stability+heldout_validation"] = Field(
        "stability", description="Rule that chooses a grid point where a model has a grid; it sees no truth."
    )
    attempts: int = Field(2, ge=1, description="How often a killed job is tried; the profile's retries plus 1.")
    scale: str | None = Field(None, description="Name of an entry of `scales` to apply.")
    scales: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Named overrides of this configuration, merged key by key."
    )
    path: str | None = Field(None, description="File of every h5ad dataset entry that names none of its own.")


def load(raw: Mapping[str, Any], deep: bool = True) -> Config:
    """Check a configuration and fill in its defaults.

    Parameters
    ----------
    raw
        The parsed YAML, command-line overrides merged in.
    deep
        Also import every plug-in and check its parameters (imports torch if a model needs it).

    Raises
    ------
    ConfigError
        Something is unknown, missing or out of range; the message names the key.
    """
    raw = _plain(raw)
    config = parse(Config, _scaled(raw), "config")
    for name in config.scales if deep else ():
        parse(Config, _scaled(raw | {"scale": name}), f"config with scale: {name}")
    registry_plugins(config)
    for kind, entries in _entries(config).items():
        for name, entry in entries.items():
            where = f"config: {kind}.{name}"
            _check_name(kind, name)
            plugin_kind = kind_of(config, kind, name)
            _check_use(where, plugin_kind, name, entry.use or name)
            if isinstance(entry, DatasetEntry):
                _check_prepare(where, plugin_kind, entry)
            if deep:
                params = resolved_params(config, kind, name)
                check_params(plugin_kind, entry.use or name, params, where, type(entry).model_fields)
                _check_path(where, plugin_kind, params)
            if isinstance(entry, ModelEntry):
                _check_grid(where, entry, name, deep)
                _check_known(f"{where}.datasets", entry.datasets or (), "datasets", config.datasets)
                _check_known(f"{where}.compared_with", filter(None, [entry.compared_with]), "models", config.models)
    _check_once(config)
    return config


def registry_plugins(config: Config) -> None:
    """Make the configured plug-in files known."""
    try:
        registry.register(config.plugins)
    except PluginError as error:
        raise ConfigError(f"config: {error}") from error


def kind_of(config: Config, kind: str, name: str) -> str:
    """Return the folder an entry's plug-in lives in; an entry of `datasets` may name a simulator."""
    entry = _entries(config)[kind][name]
    use = entry.use or name
    folders = ["datasets", "simulators"] if kind == "datasets" else [kind]
    for folder in folders:
        if use in registry.known(folder):
            return folder
    known = sorted(n for folder in folders for n in registry.known(folder))
    raise ConfigError(
        f"config: {kind}.{name} uses {use!r}, but there is no such file in {' or '.join(folders)}; "
        f"known: {known}.{nearest(use, known)}"
    )


def resolved_params(config: Config, kind: str, name: str) -> dict[str, Any]:
    """Return an entry's plug-in parameters with what the top level hands down (n_latents, path)."""
    entry = _entries(config)[kind][name]
    params = entry.params
    if isinstance(entry, DatasetEntry):
        folder = kind_of(config, kind, name)
        if folder == "simulators":
            params["n_latents"] = entry.n_latents or config.n_latents
        elif (entry.use or name) == "h5ad" and params.get("path") is None:
            if config.path is None:
                raise ConfigError(f"config: datasets.{name} has no path; set it there or give --config path=FILE")
            params["path"] = config.path
    return params


def check_params(kind: str, use: str, params: Mapping[str, Any], where: str, also: Iterable[str] = ()) -> None:
    """Check parameters against the plug-in's own ``Params``; `also` are the keys known beside them."""
    try:
        module = registry.load(kind, use)
    except PluginError as error:
        raise ConfigError(f"{where}: {error}") from error
    if not hasattr(module, "Params"):
        raise ConfigError(f"{where}: the file {use}.py of {kind} has no class Params")
    parse(module.Params, params, where, also)


def _check_path(where: str, kind: str, params: Mapping[str, Any]) -> None:
    path = params.get("path") if kind == "datasets" else None
    if isinstance(path, str) and not Path(path).is_file():
        raise ConfigError(
            f"{where}: path: there is no file {path!r}, seen from the folder where you run the command; "
            "mend the path or give --config path=FILE"
        )


def _check_use(where: str, kind: str, name: str, use: str) -> None:
    if name != use and name in registry.known(kind):  # else a table would call one method by the name of another
        raise ConfigError(f"{where} uses {use!r}, but {name!r} is itself a file of {kind}; give the entry another name")


def _check_prepare(where: str, kind: str, entry: DatasetEntry) -> None:
    if kind == "simulators" and entry.prepare != Preparation():
        raise ConfigError(
            f"{where}.prepare is for real data, and the truth of a simulated one is of all genes; remove it"
        )


def _check_grid(where: str, entry: ModelEntry, name: str, deep: bool) -> None:
    for key, values in entry.grid.items():
        if not values:
            raise ConfigError(f"{where}.grid.{key} is empty; list at least one value or remove the key")
        if len({json.dumps(v) for v in values}) < len(values):
            raise ConfigError(f"{where}.grid.{key} repeats a value, found {values}; list each value once")
        if key in entry.params:
            raise ConfigError(f"{where} sets {key!r} twice, as a parameter and in grid; keep one of them")
        for value in values if deep else []:
            check_params("models", entry.use or name, entry.params | {key: value}, f"{where}.grid")


def _check_known(where: str, names: Iterable[str], kind: str, entries: Mapping[str, Entry]) -> None:
    for name in names:
        if name not in entries:
            known = sorted(entries)
            raise ConfigError(f"{where} names {name!r}, which {kind} has not; known: {known}.{nearest(name, known)}")


def _check_once(config: Config) -> None:
    found = [name for name, entry in config.metrics.items() if (entry.use or name) == "iwelbo"]
    if len(found) > 1:
        raise ConfigError(f"config: metrics: {found} all use 'iwelbo', whose samples are drawn once; keep one of them")


def _check_name(kind: str, name: str) -> None:
    if not re.fullmatch(NAME, name):
        raise ConfigError(
            f"config: {kind}: the name {name!r} must be lower-case letters, digits, '-' or '_', for it names folders; "
            "rename the entry"
        )


def _entries(config: Config) -> dict[str, dict[str, Entry]]:
    return {kind: dict(getattr(config, kind)) for kind in ("datasets", "splits", "models", "metrics")}


def _scaled(raw: dict[str, Any]) -> dict[str, Any]:
    scale, scales = raw.get("scale"), raw.get("scales") or {}
    if scale is None or not isinstance(scales, dict):
        return raw
    if scale not in scales:
        raise ConfigError(
            f"config: scale is {scale!r}, but `scales` has {sorted(map(str, scales))}; name one of these, "
            f"add {scale!r} there or remove `scale`.{nearest(str(scale), map(str, scales))}"
        )
    over = scales[scale] or {}
    return _merge(raw, over) if isinstance(over, dict) else raw


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _plain(raw: Mapping[str, Any]) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise ConfigError(f"config: must be a mapping of keys, found {type(raw).__name__}")
    plain: dict[str, Any] = deepcopy(dict(raw))
    for kind in ("datasets", "splits", "models", "metrics", "scales"):
        if isinstance(plain.get(kind), dict):  # `pca:` with nothing behind it is an entry with defaults
            plain[kind] = {str(n): ({} if e is None else e) for n, e in plain[kind].items()}
        elif isinstance(plain.get(kind), list):
            raise ConfigError(f"config: {kind} must map names to entries (`name: {{use: ...}}`), found a list")
    return plain


def schema() -> dict[str, Any]:
    """Return the JSON schema of the configuration, for editors and the documentation."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema"} | Config.model_json_schema()
