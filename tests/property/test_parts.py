"""Parts partition the cells and leak nothing, whatever the data look like."""

import hypothesis.strategies as st
import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings

from _cells import mapped
from scident import io
from scident.stages import split

UNTIMED = settings(deadline=None)  # a busy machine is no failure
SPEC = {
    "dataset": "d",
    "name": "unseen",
    "use": "unseen_perturbation",
    "protocol": "heldout",
    "params": {"last_n": 2},
    "replicates": [0],
}


@st.composite
def conditions(draw):
    """Cells of up to 6 perturbations in up to 3 contexts, some conditions empty or tiny; which ones are held out."""
    sizes = draw(st.lists(st.lists(st.integers(0, 40), min_size=3, max_size=3), min_size=2, max_size=6))
    held = draw(st.sets(st.integers(0, len(sizes) - 1)))
    rows = [(f"p{p}", f"x{x}", p in held) for p, row in enumerate(sizes) for x, n in enumerate(row) for _ in range(n)]
    obs = pd.DataFrame(rows, columns=["perturbation", "context", "heldout"])
    obs.index = [f"c{i}" for i in range(len(obs))]
    return obs, draw(st.integers(0, 2**32))


def cut(obs, seed, protocol):
    return split.cut(obs, obs["heldout"].to_numpy(dtype=bool), protocol, np.random.default_rng(seed))


@UNTIMED
@given(conditions(), st.sampled_from(["heldout", "released"]))
def test_parts_partition_the_cells_and_hold_out_what_is_held_out(case, protocol):
    obs, seed = case
    part = cut(obs, seed, protocol)
    outside = {"heldout_fit", "heldout_score"}
    inside = {"train", "val"} if protocol == "released" else {"train", "val", "fit", "score"}
    assert set(part[obs["heldout"].to_numpy(dtype=bool)]) <= outside
    assert set(part[~obs["heldout"].to_numpy(dtype=bool)]) <= inside


@UNTIMED
@given(conditions())
def test_parts_of_every_condition_are_within_one_cell_of_their_share(case):
    obs, seed = case
    obs["part"] = cut(obs, seed, "heldout")
    for (_, _, held), condition in obs.groupby(["perturbation", "context", "heldout"]):
        for name, share in split.HELDOUT_SHARES if held else split.SHARES:
            assert abs((condition["part"] == name).sum() - share * len(condition) / 100) < 1


@UNTIMED
@given(conditions())
def test_released_parts_keep_ninety_per_cent_rounded_up(case):
    obs, seed = case
    part = cut(obs, seed, "released")
    n = int((~obs["heldout"]).sum()) if len(obs) else 0
    assert (part == "train").sum() == -(-9 * n // 10)
    assert (part == "heldout_fit").sum() == 0


def run(folder, replicates, **spec):
    numbers = list(range(len(replicates)))
    for number, adata in zip(numbers, replicates, strict=True):
        io.write_h5ad(adata, folder / f"r{number}.h5ad")
    outputs = [folder / name for name in ("parts.parquet", "train.h5ad", "parts.sha256")]
    split.run(SPEC | {"replicates": numbers} | spec, [folder / f"r{n}.h5ad" for n in numbers], *outputs)
    return io.read_table(outputs[0], "parts"), outputs[1].read_bytes()


PREPARE = {"min_counts": 30, "min_genes": 5, "max_mito": 0.2, "min_cells": 3, "top_genes": 6}


@pytest.mark.parametrize("prepare", [{}, PREPARE], ids=["as it is", "prepared"])
@pytest.mark.parametrize("protocol", ["heldout", "released"])
@settings(max_examples=5, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32))
def test_other_cells_do_not_reach_training(protocol, prepare, tmp_path_factory, seed):
    """Cells that no replicate trains on are permuted and redrawn: training input is the same to the byte."""
    folder = tmp_path_factory.mktemp("split")
    adata = mapped(labels=("a", "b", "c", "d", "e"), contexts=("x", "y"))
    adata.var_names = ["MT-1", "MT-2", *adata.var_names[2:]]
    two = [adata, adata]
    parts, train = run(folder, two, protocol=protocol, prepare=prepare)
    seen = parts["part"].isin(["train", "val"]).groupby(parts["cell_id"]).any().reindex(adata.obs_names)
    poor = parts["part"].eq("unused").groupby(parts["cell_id"]).any().reindex(adata.obs_names)
    assert poor.any() == bool(prepare)
    other = np.flatnonzero(~(seen | poor).to_numpy())
    rng = np.random.default_rng(seed)
    order = np.arange(adata.n_obs)
    order[other] = rng.permutation(other)
    changed = adata[order].copy()
    changed.X[other] = rng.poisson(9.0, (len(other), adata.n_vars)) * rng.choice([0, 1, 20], (len(other), 1))
    again, train_again = run(folder, [changed, changed], protocol=protocol, prepare=prepare)
    assert train_again == train
    keys = ["replicate", "cell_id"]
    before, after = (table.set_index(keys)["part"].sort_index() for table in (parts, again))
    moved = (before != after) & (after != "unused")
    assert not moved.any()


def test_adding_a_replicate_changes_no_other(tmp_path):
    worlds = [mapped(labels=("a", "b", "c", "d"), seed=seed) for seed in range(3)]
    two, _ = run(tmp_path, worlds[:2])
    three, _ = run(tmp_path, worlds)
    pd.testing.assert_frame_equal(three[three["replicate"] < 2], two)
    assert (
        two.loc[two["replicate"] == 0, "part"].to_numpy() != two.loc[two["replicate"] == 1, "part"].to_numpy()
    ).any()
