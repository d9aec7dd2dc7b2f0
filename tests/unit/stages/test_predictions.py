"""From seen cells to scores of predicted expression, through the files between the stages."""

import numpy as np
import pandas as pd
import pytest

from _jobs import job, make_pairs, plugin
from scident import io, registry
from scident.errors import ContractError
from scident.expression import log_normalised
from scident.stages import _expression, _score_inputs, score
from scident.types import Predictions

BASELINES = ("no_change", "training_mean", "context_mean", "additive")
METRICS = ("response_r2", "delta_r2", "delta_pearson", "pref_delta_pearson")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    folder = tmp_path_factory.mktemp("pairs")
    make_pairs(folder)
    return folder


def run(root, use, **options):
    one = job(root, use, predict=True, **options)
    one.train()
    return one, one.infer()


def scored(one, *, min_cells=1, metrics=METRICS, **changes):
    info = registry.describe("models", one.spec["use"])
    spec = {name: one.spec[name] for name in ("dataset", "split", "model", "seeds", "plugins")}
    spec |= {"protocol": "heldout", "replicates": [0, 1], "grid_points": list(one.spec["grid"])}
    spec |= {"stochastic": info.stochastic, "label_conditioned": info.label_conditioned, "adapts": info.adapts}
    entries = {m: {"use": m, "params": {"min_cells": min_cells} if m in METRICS else {}} for m in metrics}
    spec |= {"metrics": entries, "hash_config": "0" * 16, "hash_code": "0" * 16} | changes
    worlds = [one.root / f"r{r}.h5ad" for r in (0, 1)]
    out = one.root / "scores.parquet"
    score.run(spec, [one.inferred], worlds, [], one.root / "parts.parquet", out, one.root / "aligned.parquet")
    return io.read_table(out, "scores")


def whole(scores, metric, scope="ood", variant=""):
    rows = scores[(scores["metric"] == metric) & (scores["scope"] == scope) & (scores["variant"] == variant)]
    return rows[rows["perturbation"].isna()]


def parts_of(root, replicate):
    parts = io.read_table(root / "parts.parquet", "parts")
    return parts[parts["replicate"] == replicate].set_index("cell_id")["part"]


def observed(root, replicate=0):
    return expression_of(root / f"r{replicate}.h5ad", parts_of(root, replicate).to_numpy())


def expression_of(path, part):
    return _expression.observed(path, part, io.genes_of(path))


@pytest.mark.parametrize("use", BASELINES)
def test_a_model_without_latents_leaves_predictions_alone(root, use):
    one, members = run(root, use, fitted_seeds=(0,))
    assert set(members["status"]) == {"ok"}
    for member in members["member"]:
        assert {path.name for path in (one.inferred / member).iterdir()} == {"predictions.h5ad"}
    found, genes = io.read_predictions(one.inferred / "r0.g0.s1" / "predictions.h5ad")
    assert len(genes) == 12
    pairs = set(found.obs[["context", "perturbation"]].itertuples(index=False, name=None))
    assert pairs == {(x, p) for x in "xyz" for p in "abc"}
    assert set(found.obs["kind"]) == {""}


def test_scores_of_baselines_are_what_theory_says(root):
    one, _ = run(root, "no_change", fitted_seeds=(0,))
    scores = scored(one)
    assert whole(scores, "delta_pearson")["value"].eq(0).all()
    assert whole(scores, "delta_r2")["value"].le(0).all()
    one, _ = run(root, "training_mean", fitted_seeds=(0,), name="other")
    assert whole(scored(one), "pref_delta_pearson")["value"].eq(0).all()
    for scope, conditions in (("iid", 7), ("ood", 2)):
        rows = whole(scores, "response_r2", scope)
        assert rows["status"].eq("ok").all()
        assert set(rows["n"]) == {conditions}
        assert set(zip(rows["replicate"], rows["seed"], strict=True)) == {(r, s) for r in (0, 1) for s in (0, 1)}
    named = scores[(scores["scope"] == "ood") & scores["perturbation"].notna()]
    assert set(named["perturbation"]) == {"x/a", "y/b"}


def test_metrics_of_latents_do_not_apply_without_latents(root):
    one, _ = run(root, "additive", fitted_seeds=(0,))
    scores = scored(one, metrics=("probe_z_perturbation", "seed_mcc", "nelbo", "delta_r2"))
    for metric, reason in (("probe_z_perturbation", "no_latents"), ("seed_mcc", "no_latents")):
        assert set(whole(scores, metric, "iid")["reason"]) == {reason}
    assert set(whole(scores, "nelbo", "iid")["reason"]) == {"no_likelihood"}
    assert whole(scores, "delta_r2")["status"].eq("ok").all()


def test_predictions_stand_beside_latents(root):
    path = plugin(root, "toy_predicts", gives=("latents", "predictions"))
    one, members = run(root, "toy_predicts", plugins=[path])
    assert set(members["status"]) == {"ok"}
    assert {path.name for path in (one.inferred / "r0.g0.s0").iterdir()} == {"latents.npz", "predictions.h5ad"}
    scores = scored(one)
    assert whole(scores, "response_r2", variant="counterfactual")["status"].eq("ok").all()
    assert set(whole(scores, "response_r2")["reason"]) == {"no_prediction"}


def test_a_model_that_cannot_predict_here_keeps_its_latents(root):
    refuse = 'from scident.errors import NotApplicable; raise NotApplicable("no_control")'
    path = plugin(root, "toy_refuses", gives=("latents", "predictions"), predict=refuse)
    one, members = run(root, "toy_refuses", plugins=[path])
    assert set(members["status"]) == {"ok"}
    assert set(whole(scored(one), "response_r2")["reason"]) == {"no_prediction"}
    alone = plugin(root, "toy_refuses_alone", gives=("predictions",), predict=refuse)
    _, members = run(root, "toy_refuses_alone", plugins=[alone], name="alone")
    assert set(zip(members["status"], members["reason"], strict=True)) == {("not_applicable", "no_control")}


def test_nobody_predicts_unless_asked(root):
    path = plugin(root, "toy_unasked", gives=("latents", "predictions"), predict="raise RuntimeError")
    one = job(root, "toy_unasked", plugins=[path])
    one.train()
    assert set(one.infer()["status"]) == {"ok"}


WHOLE = 'return Predictions(request.conditions.assign(kind="{kind}"), np.full((9, 12), {value}))'


@pytest.mark.parametrize(
    ("name", "predict", "reason"),
    [
        ("toy_p_nan", WHOLE.format(kind="counterfactual", value="np.nan"), "nonfinite_predictions"),
        ("toy_p_kind", WHOLE.format(kind="guess", value=1.0), "kind of a prediction must be one of"),
        ("toy_p_shape", WHOLE.format(kind="", value=1.0).replace("12", "11"), "one row of 12 genes per row of obs"),
        (
            "toy_p_other",
            'return Predictions(request.conditions.assign(perturbation="z", kind=""), np.ones((9, 12)))',
            "for the conditions it was asked for and no others",
        ),
        (
            "toy_p_twice",
            'twice = request.conditions.iloc[[0, 0]].assign(kind=""); return Predictions(twice, np.ones((2, 12)))',
            "1 conditions are predicted twice by the same kind",
        ),
        (
            "toy_p_empty",
            'return Predictions(request.conditions.iloc[:0].assign(kind=""), np.ones((0, 12)))',
            "no_prediction",
        ),
    ],
)
def test_a_prediction_that_breaks_its_word_is_a_row(root, name, predict, reason):
    path = plugin(root, name, gives=("predictions",), predict=predict)
    _, members = run(root, name, plugins=[path])
    assert set(members["status"]) == {"not_applicable" if reason == "no_prediction" else "failed"}
    assert members["reason"].str.contains(reason).all()


def test_a_model_is_asked_for_the_treated_scored_conditions_and_given_the_right_cells(root):
    code = (
        'assert set(request.seen.obs["is_control"]) == {True, False}; '
        'assert request.conditions.columns.tolist() == ["perturbation", "context"]; '
        "assert request.conditions.index.tolist() == list(range(9)); "
        'assert "control" not in set(request.conditions["perturbation"]); '
        "names = set(request.seen.obs_names), set(request.scored.obs_names); assert not names[0] & names[1]; "
        'assert list(request.seen.obs["perturbation"].cat.categories) == ["a", "b", "c", "control"]; '
        'own = request.seen.obs; assert not ((own["context"] == "x") & (own["perturbation"] == "a")).any(); '
        "self.params.__class__.sizes = tuple(map(len, names))"
    )
    path = plugin(root, "toy_asked", gives=("predictions",), predict=code)
    _, members = run(root, "toy_asked", plugins=[path])
    assert set(members["reason"]) == {""}
    part = parts_of(root, 1)
    sizes = registry.load("models", "toy_asked").Params.sizes
    assert sizes == (part.isin(["train", "val"]).sum(), part.isin(["score", "heldout_score"]).sum())


def test_observed_means_are_those_of_scored_cells_and_controls_of_seen_ones(root):
    found, part = observed(root), parts_of(root, 0).to_numpy()
    cells = io.read_data(root / "r0.h5ad")
    x, obs = log_normalised(cells), cells.obs
    row = found["ood"].obs.index[(found["ood"].obs == ["b", "y"]).all(axis=1)][0]
    own = (part == "heldout_score") & (obs["perturbation"] == "b") & (obs["context"] == "y")
    np.testing.assert_allclose(found["ood"].mean[row], x[own].mean(0))
    np.testing.assert_allclose(found["ood"].sd[row], x[own].std(0, ddof=1))
    assert found["ood"].cells[row] == own.sum()
    seen = np.isin(part, ["train", "val"]) & (obs["context"] == "y").to_numpy()
    np.testing.assert_allclose(found["ood"].control[row], x[seen & obs["is_control"]].mean(0))
    centroids = [x[seen & (obs["perturbation"] == p)].mean(0) for p in ("a", "c")]  # b is held out here
    np.testing.assert_allclose(found["ood"].centroid[row], np.mean(centroids, axis=0))
    assert len(found["iid"].obs) == 7
    assert len(found["ood"].obs) == 2


def test_the_panel_is_the_largest_welch_t_on_cells_that_are_not_scored(root, monkeypatch):
    from scipy import stats

    monkeypatch.setattr(_expression, "PANEL", 4)
    found, part = observed(root), parts_of(root, 0).to_numpy()
    cells = io.read_data(root / "r0.h5ad")
    x, obs = log_normalised(cells), cells.obs
    seen = np.isin(part, ["train", "val"])
    for scope in ("iid", "ood"):
        for row, (label, context) in enumerate(found[scope].obs.to_numpy()):
            own = (obs["perturbation"] == label) & (obs["context"] == context)
            chosen_on = own & (seen if scope == "iid" else part == "heldout_fit")
            control = seen & obs["is_control"] & (obs["context"] == context)
            t = stats.ttest_ind(x[chosen_on], x[control], equal_var=False).statistic
            assert set(np.flatnonzero(found[scope].panel[row])) == set(np.argsort(-np.abs(t))[:4])


def test_scored_cells_choose_neither_panel_nor_reference(root, tmp_path):
    before, part = observed(root), parts_of(root, 0).to_numpy()
    cells = io.read_data(root / "r0.h5ad")
    scored_rows = np.isin(part, ["score", "heldout_score"])
    cells.X[scored_rows] = np.random.default_rng(0).poisson(9.0, (scored_rows.sum(), cells.n_vars))
    io.write_h5ad(cells, tmp_path / "changed.h5ad")
    after = expression_of(tmp_path / "changed.h5ad", part)
    for scope in ("iid", "ood"):
        for name in ("panel", "control", "centroid"):
            np.testing.assert_array_equal(getattr(after[scope], name), getattr(before[scope], name))
        assert not np.allclose(after[scope].mean, before[scope].mean)


def test_contexts_without_controls_have_no_control_and_no_panel(root, tmp_path):
    cells, part = io.read_data(root / "r0.h5ad"), parts_of(root, 0)
    keep = ~((cells.obs["context"] == "x") & cells.obs["is_control"]).to_numpy()
    io.write_h5ad(io.subset(cells, keep), tmp_path / "fewer.h5ad")
    found = expression_of(tmp_path / "fewer.h5ad", part.to_numpy()[keep])
    for scope in ("iid", "ood"):
        x = (found[scope].obs["context"] == "x").to_numpy()
        assert np.isnan(found[scope].control[x]).all()
        assert not found[scope].panel[x].any()
        assert np.isfinite(found[scope].control[~x]).all()
        assert (found[scope].panel[~x].sum(1) == 12).all()


def test_expression_is_read_only_if_a_metric_asks_for_it(root, monkeypatch):
    one, _ = run(root, "no_change", fitted_seeds=(0,))

    def refuse(*_):
        raise AssertionError

    monkeypatch.setattr(_score_inputs, "observed", refuse)
    scored(one, metrics=("nelbo",))
    with pytest.raises(AssertionError):
        scored(one)


def test_genes_in_another_order_are_aligned_and_missing_ones_refused(root):
    one, _ = run(root, "additive", fitted_seeds=(0,))
    before = scored(one)
    path = one.inferred / "r0.g0.s0" / "predictions.h5ad"
    found, genes = io.read_predictions(path)
    io.write_predictions(path, Predictions(found.obs, found.mean[:, ::-1]), genes[::-1])
    pd.testing.assert_frame_equal(scored(one), before)
    io.write_predictions(path, Predictions(found.obs, found.mean[:, 1:]), genes[1:])
    lost = scored(one)
    lost = lost[(lost["replicate"] == 0) & (lost["seed"] == 0)]
    assert set(lost["status"]) == {"failed"}
    assert lost["reason"].str.startswith("shape: predictions of 11 genes lack 1 of 12").all()


def test_predictions_survive_their_file(tmp_path):
    obs = pd.DataFrame({"perturbation": ["1", "a"], "context": ["x", "x"], "dose": [0.1, 10.0], "kind": ["", ""]})
    mean = np.random.default_rng(0).normal(size=(2, 3))
    io.write_predictions(tmp_path / "p.h5ad", Predictions(obs, mean), ["g1", "g2", "g3"])
    found, genes = io.read_predictions(tmp_path / "p.h5ad")
    pd.testing.assert_frame_equal(found.obs, obs)
    np.testing.assert_array_equal(found.mean, mean)
    assert genes == ("g1", "g2", "g3")
    assert found.variance is None
    io.write_predictions(tmp_path / "p.h5ad", Predictions(obs, mean, mean**2), ["g1", "g2", "g3"])
    np.testing.assert_array_equal(io.read_predictions(tmp_path / "p.h5ad")[0].variance, mean**2)
    with pytest.raises(ContractError, match="variance of predictions must be finite numbers, none below 0"):
        io.write_predictions(tmp_path / "p.h5ad", Predictions(obs, mean, -(mean**2)), genes)
    with pytest.raises(ContractError, match=r"lacks \['kind'\]"):
        io.write_predictions(tmp_path / "p.h5ad", Predictions(obs.drop(columns="kind"), mean), genes)
    with pytest.raises(ContractError, match="finite"):
        io.write_predictions(tmp_path / "p.h5ad", Predictions(obs, mean * np.nan), genes)
