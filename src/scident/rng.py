"""One random stream per name, so that adding a member changes no other."""

import hashlib
import json

import numpy as np


def seed_sequence(
    stage: str,
    *,
    dataset: str | None = None,
    replicate: int | None = None,
    split: str | None = None,
    model: str | None = None,
    grid_point: str | None = None,
    seed: int | None = None,
) -> np.random.SeedSequence:
    """Derive a seed sequence from the names of what will be drawn; equal names give equal streams on every machine."""
    names = json.dumps([stage, dataset, replicate, split, model, grid_point, seed])
    digest = hashlib.sha256(names.encode()).digest()
    return np.random.SeedSequence(np.frombuffer(digest, dtype=np.uint32).tolist())


def generator(stage: str, **names: str | int | None) -> np.random.Generator:
    """Return the NumPy generator of this name (see `seed_sequence` for the names)."""
    return np.random.default_rng(seed_sequence(stage, **names))  # type: ignore[arg-type]
