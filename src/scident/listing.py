"""What ``scident list``, ``scident fetch`` and ``scident explain`` print."""

import json
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from scident import download, io, registry
from scident.errors import ContractError, DataError, PluginError, nearest
from scident.info import DatasetInfo, Info, MetricInfo, ModelInfo

TRANSIENT = ("exception", "killed", "oom")
"""First words of the reasons of a score whose own job came to grief and is worth another run.

Every other reason came with the member (member_failed) or says what is wrong with a value (nonfinite_score,
variant_missing, a shape) and would come out the same.
"""


def plugin_table(what: str, cache: Path, width: int = 100) -> str:
    """Return the plug-ins of a kind as aligned columns: name, label, what its kind has to say, source.

    A model says its role and a metric its direction; a dataset takes several lines.

    Parameters
    ----------
    what
        The kind.
    cache
        Folder for downloads, which knows the checksums of files whose source publishes none.
    width
        Longest line of text below a dataset.

    Raises
    ------
    PluginError
        There is no such kind.
    """
    if what not in registry.INFO_CLASSES:
        known = [*registry.INFO_CLASSES, "failed"]
        raise PluginError(f"there is nothing called {what!r} to list; known: {known}.{nearest(what, known)}")
    infos = {name: registry.describe(what, name) for name in registry.known(what)}
    rows = [(name, *_words(info, cache)) for name, info in infos.items()]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    padded = [[cell.ljust(longest) for cell, longest in zip(row, widths, strict=True)] for row in rows]
    lines = ["  ".join(cells).rstrip() for cells in padded]
    return "\n".join(line + _below(info, width) for line, info in zip(lines, infos.values(), strict=True))


def _words(info: Info, cache: Path) -> list[str]:
    if isinstance(info, DatasetInfo):
        return _download_words(info, cache)
    if isinstance(info, ModelInfo):
        return [info.label, info.role.replace("_", " "), info.source]
    if isinstance(info, MetricInfo):
        better = {"higher": "higher is better", "lower": "lower is better"}.get(info.better, "descriptive")
        return [info.label, better, info.source]
    return [info.label, info.source]


def _download_words(info: DatasetInfo, cache: Path) -> list[str]:
    """Say of each file of a dataset how large it is and what its bytes are compared with, the default first."""
    if not info.files:
        return ["no download", info.licence, "none"]
    sizes = ["size unknown" if file.bytes is None else _bytes(file.bytes) for file in info.files]
    sums = [download.checksum(file, cache).removesuffix(" (unverified)") for file in info.files]
    short = [re.sub(r"([0-9a-f]{8})[0-9a-f]{24,}", r"\1…", words) for words in sums]
    return [" or ".join(sizes), info.licence, " or ".join(short)]


def _below(info: Info, width: int) -> str:
    """Return the lines below a dataset's: what it is good for, what is unverified, what to know and to cite."""
    if not isinstance(info, DatasetInfo):
        return ""
    doubts = [*info.unverified, *_doubtful(info)]
    said = [
        f"good for {info.good_for}",
        f"unverified: {', '.join(doubts)}" if doubts else "",
        f"note: {info.note}" if info.note else "",
        f"{info.source}, doi {info.doi}" if info.doi else info.source,
    ]
    wrap = textwrap.TextWrapper(width, initial_indent=" " * 4, subsequent_indent=" " * 6, break_on_hyphens=False)
    return "".join("\n" + wrap.fill(words) for words in said if words)


def _doubtful(info: DatasetInfo) -> list[str]:
    """Name what stands in one place only, of size and checksum of the files."""
    files = [file for file in info.files if not file.verified]
    known = {"size": any(file.bytes for file in files), "checksum": any(file.md5 or file.sha256 for file in files)}
    return [name for name, is_known in known.items() if is_known]


def _bytes(number: int) -> str:
    return f"{number / 1e9:.1f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"


def explanation(metric: str) -> str:
    """Return what a metric means: formula, range, direction, anchors, what it ignores, needs, scopes and parameters.

    Raises
    ------
    PluginError
        There is no such metric.
    """
    info = registry.describe("metrics", metric)
    assert isinstance(info, MetricInfo)
    module = registry.load("metrics", metric)
    low, high = info.range
    lines = {
        "formula": info.formula,
        "range": f"{_number(low)} to {_number(high)}",
        "better": info.better,
        "no skill": "no theory gives it; read the negative controls" if info.no_skill is None else f"{info.no_skill:g}",
        "ceiling": "no theory gives it; read the oracle" if info.ceiling is None else f"{info.ceiling:g}",
        "ignores": ", ".join(info.invariant_to) or "nothing",
        "needs": ", ".join(info.needs),
        "scopes": ", ".join(info.scopes),
        "variants": ", ".join(name or "(plain)" for name in info.variants),
        "one value": "of all seeds together" if info.over == "seeds" else "for each seed",
        "source": info.source,
    }
    text = [f"{metric}: {info.label}", "", (module.__doc__ or "").strip(), ""]
    text += [f"{key:<10} {value}" for key, value in lines.items()]
    fields = module.Params.model_fields
    text += ["", "parameters" if fields else "parameters: none"]
    text += [f"  {name} = {field.default!r}  {field.description or ''}".rstrip() for name, field in fields.items()]
    return "\n".join(text)


def fetched(name: str, cache: Path, file: str | None = None) -> str:
    """Download a file of a dataset, the first unless another is named; return where it is and how it was checked.

    Raises
    ------
    PluginError, DataError
        There is no such dataset or file, there is nothing to download, or it cannot be had.
    """
    info = registry.describe("datasets", name)
    assert isinstance(info, DatasetInfo)
    files = {entry.name: entry for entry in info.files}
    if not files:
        raise DataError(f"{name}: there is nothing to download; a config entry names the file it reads by `path`")
    wanted = next(iter(files)) if file is None else file
    if wanted not in files:
        raise DataError(f"{name}: has no file {wanted!r}; known: {list(files)}.{nearest(wanted, files)}")
    return f"{download.fetch(files[wanted], cache)}  {download.checksum(files[wanted], cache)}"


def _number(bound: float) -> str:
    infinite = {float("inf"): "+infinity", float("-inf"): "-infinity"}
    return infinite.get(bound, f"{bound:g}")


def failed_jobs(results: Path, runs: Sequence[Mapping[str, Any]] | None = None) -> str:
    """Return a file of each job that failed, one per line, as ``snakemake --forcerun`` takes them.

    Of a chain only the first failed job is named, since what follows runs again anyway: a train job with a failed
    member, else an infer job, else a score job whose own work failed.

    Parameters
    ----------
    results
        Folder of the results.
    runs
        The plan's runs (dataset, split, model, shards, skipped): what else lies in the folder, of other configurations,
        removed models or an older cut into shards, is not named. None: all that lies there.
    """
    found: list[Path] = []
    for run, shards in _chains(results, runs):
        train, infer = ([_status(s) for s in _shards(results / stage / run, shards)] for stage in ("train", "infer"))
        lost = [path for path, failed in train if failed]
        lost += [path.parent for path, failed in infer if failed and not _failed(results / "train" / run, path)]
        score = results / "score" / run.with_name(f"{run.name}.parquet")
        if not lost and score.exists() and _score_failed(score):
            lost = [score]
        found += lost
    return "\n".join(path.as_posix() for path in found)


def _chains(results: Path, runs: Sequence[Mapping[str, Any]] | None) -> list[tuple[Path, int | None]]:
    """Return dataset/split/model of each run and how many shards it has, None: as many as there are."""
    if runs is None:
        train = results / "train"
        return [(run, None) for run in sorted({path.parent.relative_to(train) for path in train.glob("*/*/*/s*")})]
    return [(Path(r["dataset"], r["split"], r["model"]), int(r["shards"])) for r in runs if not r["skipped"]]


def _shards(folder: Path, shards: int | None) -> Iterator[Path]:
    found = {int(path.parent.name[1:]): path for path in folder.glob("s*/status.json")}
    yield from (found[shard] for shard in sorted(found) if shards is None or shard < shards)


def _status(path: Path) -> tuple[Path, bool]:
    try:
        found: dict[str, Any] = io.read_json(path)
    except (OSError, json.JSONDecodeError):
        return path, True
    members = found.get("members", {}).values()
    return path, found.get("status") == "failed" or any(member.get("status") == "failed" for member in members)


def _failed(train: Path, status: Path) -> bool:
    """Whether the train job behind an infer job's status failed."""
    return _status(train / status.parent.name / "status.json")[1]


def _score_failed(path: Path) -> bool:
    try:
        scores: pd.DataFrame = io.read_table(path, "scores")
    except (OSError, ValueError, ContractError):
        return True
    failed = scores["status"] == "failed"
    return bool((failed & scores["reason"].str.startswith(TRANSIENT)).any())
