"""What train and infer share: which members a job holds and how they are written."""

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from scident import io, registry
from scident.errors import PluginError
from scident.models.base import Model

Spec = Mapping[str, Any]


def member_id(replicate: int, grid_index: int, seed: int) -> str:
    """Name a member, as in ``r0.g1.s2``."""
    return f"r{replicate}.g{grid_index}.s{seed}"


def model_class(use: str) -> type[Model]:
    """Return the one `Model` subclass of a plug-in file."""
    module = registry.load("models", use)
    own = [c for c in vars(module).values() if inspect.isclass(c) and c.__module__ == module.__name__]
    found = [c for c in own if issubclass(c, Model)]
    if len(found) != 1:
        raise PluginError(
            f"models/{use}.py must define exactly one Model subclass, found {[c.__name__ for c in found]}"
        )
    return found[0]


def members_table(spec: Spec) -> pd.DataFrame:
    """Return one row per member of the job, status not yet known."""
    points = list(spec["grid"])
    rows = [
        {
            "member": member_id(r, g, s),
            "replicate": r,
            "grid_point": points[g],
            "seed": s,
            "fitted_as": member_id(r, g, s),
            "params": io.canonical(spec["grid"][points[g]]),
            "status": "failed",
            "reason": "killed",
            "epochs": 0,
            "role": "member",
            "retrained": "no",
        }
        for r, g, s in spec["members"]
    ]
    return pd.DataFrame(rows)


def save_states(path: Path, states: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Write ``model.pt``: member to name to tensor."""
    import torch

    tensors = {m: {n: torch.from_numpy(np.array(v)) for n, v in state.items()} for m, state in states.items()}
    with io.atomic(path) as temporary:
        torch.save(tensors, temporary)


def load_states(path: Path) -> dict[str, dict[str, np.ndarray]]:
    """Read ``model.pt``."""
    import torch

    found = torch.load(path, weights_only=True)
    return {m: {n: v.numpy() for n, v in state.items()} for m, state in found.items()}


def status(stage: str, members: pd.DataFrame, costs: Mapping[str, float], hashes: Mapping[str, str]) -> dict[str, Any]:
    """Return ``status.json``: failed if every member is."""
    good = bool((members["status"] != "failed").any())
    reasons = members.loc[members["status"] != "ok", "reason"]
    return {
        "stage": stage,
        "status": "ok" if good else "failed",
        "reason": "" if good or not len(reasons) else str(reasons.iloc[0]),
        "members": {
            row["member"]: {"status": row["status"], "reason": row["reason"]} for row in members.to_dict("records")
        },
        "costs": dict(costs),
        "hashes": dict(hashes),
    }
