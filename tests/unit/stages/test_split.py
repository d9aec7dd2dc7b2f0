import numpy as np
import pandas as pd
import pytest

from _cells import mapped
from scident import io, registry
from scident.contracts import PARTS
from scident.errors import ConfigError, ContractError, PluginError
from scident.stages import split

SPEC = {
    "dataset": "d",
    "name": "unseen",
    "use": "unseen_perturbation",
    "protocol": "heldout",
    "params": {"last_n": 1},
    "replicates": [0],
}
BAD_PLUGIN = """
from scident.info import SplitInfo
from scident.params import PluginParams

info = SplitInfo(label="Bad", source="a test")

class Params(PluginParams):
    pass

def assign(adata, params, rng):
    return [False] * adata.n_obs
"""


def run(folder, replicates, **spec):
    """Write the replicates and cut them; returns (parts, train, digest text)."""
    paths = []
    for number, adata in enumerate(replicates):
        io.write_h5ad(adata, folder / f"r{number}.h5ad")
        paths.append(folder / f"r{number}.h5ad")
    spec = SPEC | {"replicates": list(range(len(replicates)))} | spec
    split.run(spec, paths, folder / "parts.parquet", folder / "train.h5ad", folder / "parts.sha256")
    table = io.read_table(folder / "parts.parquet", "parts")
    return table, io.read_data(folder / "train.h5ad"), (folder / "parts.sha256").read_text().strip()


def test_run_cuts_each_condition_in_the_declared_shares(tmp_path):
    parts, _, _ = run(tmp_path, [mapped(labels=("a", "b", "c"), per_label=50)])
    assert parts["part"].value_counts().to_dict() == {
        "train": 72,
        "heldout_fit": 25,
        "heldout_score": 25,
        "fit": 10,
        "score": 10,
        "val": 8,
    }


def test_run_gives_training_only_train_and_val_cells_and_every_name(tmp_path):
    adata = mapped(labels=("a", "b", "c", "control"))
    parts, train, digest = run(tmp_path, [adata, adata])
    assert digest == io.digest(tmp_path / "parts.parquet")
    assert list(train.obs["perturbation"].cat.categories) == ["a", "b", "c", "control"]
    assert set(train.obs["perturbation"].astype(str)) == {"a", "b", "control"}
    wanted = parts[parts["part"].isin(["train", "val"])]
    names = [f"r{r}:{c}" for r, c in zip(wanted["replicate"], wanted["cell_id"], strict=True)]
    assert train.obs_names.tolist() == names
    assert train.obs["part"].astype(str).tolist() == wanted["part"].tolist()
    assert train.obs["cell_id"].astype(str).tolist() == wanted["cell_id"].tolist()
    np.testing.assert_array_equal(train.X, np.asarray(adata[wanted["cell_id"]].X))
    assert list(train.obs) == ["replicate", "cell_id", "part", "perturbation", "is_control", "context"]


def test_run_tells_training_what_x_holds(tmp_path):
    worlds = [mapped(seed=0), mapped(seed=1)]
    for world in worlds:
        world.uns["observation"] = "normal"
    assert run(tmp_path, worlds)[1].uns["observation"] == "normal"


def test_run_under_the_released_protocol_cuts_ninety_to_ten(tmp_path):
    # 45 training cells: ceil(40.5) = 41 train
    parts, _, _ = run(
        tmp_path, [mapped(labels=("a", "b", "c"), per_label=15)][:1], protocol="released", params={"held_out": ["c"]}
    )
    assert parts["part"].value_counts().to_dict() == {"train": 27, "heldout_score": 15, "val": 3}


@pytest.mark.parametrize(("cells", "train"), [(45, 41), (20, 18), (21, 19), (1, 1)])
def test_released_training_share_is_rounded_up(cells, train):
    obs = pd.DataFrame({"perturbation": "a", "context": "all"}, index=[f"c{i}" for i in range(cells)])
    part = split.cut(obs, np.zeros(cells, dtype=bool), "released", np.random.default_rng(0))
    assert (part == "train").sum() == train
    assert (part == "val").sum() == cells - train


def test_cut_gives_small_conditions_every_part_on_average():
    # 1,000 conditions of 5 cells: 0.4 val cells each; standard error of the total at most √(1000 · 0.25) = 16
    obs = pd.DataFrame({"perturbation": np.repeat(np.arange(1000), 5).astype(str), "context": "all"})
    obs.index = [f"c{i}" for i in range(5000)]
    part = split.cut(obs, np.zeros(5000, dtype=bool), "heldout", np.random.default_rng(0))
    assert (part == "val").sum() == pytest.approx(400, abs=64)
    assert (part == "train").sum() == pytest.approx(3600, abs=64)


def test_cut_does_not_depend_on_the_order_of_the_file():
    obs = mapped().obs
    heldout = (obs["perturbation"] == "c").to_numpy()
    shuffled = np.random.default_rng(1).permutation(len(obs))
    straight = split.cut(obs, heldout, "heldout", np.random.default_rng(0))
    again = split.cut(obs.iloc[shuffled], heldout[shuffled], "heldout", np.random.default_rng(0))
    np.testing.assert_array_equal(again, straight[shuffled])


def test_run_of_two_names_differs(tmp_path):
    first, _, _ = run(tmp_path / "a", [mapped()])
    other, _, _ = run(tmp_path / "b", [mapped()], name="again")
    assert (first["part"] != other["part"]).any()


def test_run_keeps_sparse_counts_sparse(tmp_path):
    from scipy import sparse

    adata = mapped()
    adata.X = sparse.csr_matrix(adata.X)
    _, train, _ = run(tmp_path, [adata, adata])
    assert train.X.format == "csr"


def test_run_refuses_replicates_that_do_not_fit(tmp_path):
    with pytest.raises(ContractError, match="same genes and perturbation names"):
        run(tmp_path, [mapped(), mapped(genes=7)])
    assert not (tmp_path / "parts.parquet").exists()


def test_run_refuses_data_too_small_to_train_on(tmp_path):
    with pytest.raises(ConfigError, match=r"splits.unseen leaves d no cell in the part 'val' \(of 3 cells\)"):
        run(tmp_path, [mapped(labels=("a", "b", "c"), per_label=1)], protocol="released")


def test_run_refuses_an_answer_that_is_not_a_series(tmp_path, monkeypatch):
    monkeypatch.setattr(registry, "_plugins", {})  # the plug-in goes with its folder
    plugin = tmp_path / "bad_for_the_split_stage.py"
    plugin.write_text(BAD_PLUGIN)
    with pytest.raises(PluginError, match=f"splits/{plugin.stem}.py: assign must return a Series of bool"):
        run(tmp_path, [mapped()], use=plugin.stem, params={}, plugins=[str(plugin)])


def test_parts_are_those_of_the_contract():
    assert {name for name, _ in split.SHARES + split.HELDOUT_SHARES} | {split.UNUSED} == set(PARTS)


def test_cells_that_nobody_uses_have_a_part_of_their_own(tmp_path):
    labels = ("control", "a", "b", "a+b", "a+c", "b+c", "c+d")
    adata = mapped(labels=labels, per_label=50)
    options = {"use": "unseen_combination", "params": {"fraction": 0.5}}
    parts, train, _ = run(tmp_path, [adata], **options)
    label = adata.obs["perturbation"].astype(str).to_numpy()
    pairs = parts[[len(name) > 1 and name != "control" for name in label]]
    # of four combinations two are trained on, one is tested on a fifth of its cells and nobody uses one
    assert pairs["part"].value_counts().loc[["unused", "heldout_fit", "heldout_score"]].tolist() == [90, 5, 5]
    assert pairs.loc[pairs["part"] == "unused", "heldout"].sum() == 0
    assert not set(train.obs["cell_id"]) & set(parts.loc[parts["part"] == "unused", "cell_id"])


def test_entries_of_one_paired_file_draw_the_same(tmp_path):
    adata = mapped(labels=("control", "a", "b"), per_label=50)

    def held(name, use, params):
        (tmp_path / name).mkdir()
        parts, _, _ = run(tmp_path / name, [adata, adata], name=name, use=use, params=params)
        return [set(own.loc[own["heldout"], "cell_id"]) for _, own in parts.groupby("replicate")]

    few, more = (held(f"low-{share}", "low_data", {"share": share}) for share in (0.1, 0.5))
    assert few == more
    assert few[0] != few[1]
