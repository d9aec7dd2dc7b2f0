import shutil
import sys

import numpy as np
import pandas as pd
import pytest

from _runs import expected_rows, make, write_member, write_status
from _worlds import labels
from scident import io, registry
from scident.errors import ContractError
from scident.stages import _score_inputs

HELDOUT, RELEASED = ("iid", "ood", "val"), ("insample", "ood", "val")


def keys(scores):
    rows = scores[scores["perturbation"].isna()]
    seeds = [None if pd.isna(s) else int(s) for s in rows["seed"]]
    return list(zip(rows["replicate"], seeds, rows["metric"], rows["scope"], rows["variant"], strict=True))


def pick(scores, metric, scope="iid", variant="", replicate=0):
    return scores[
        (scores["metric"] == metric)
        & (scores["scope"] == scope)
        & (scores["variant"] == variant)
        & (scores["replicate"] == replicate)
        & scores["perturbation"].isna()
    ]


@pytest.mark.parametrize(("protocol", "scopes"), [("heldout", HELDOUT), ("released", RELEASED)])
def test_score_writes_each_metric_scope_variant_and_seed_once(tmp_path, protocol, scopes):
    run = make(tmp_path, protocol=protocol)
    scores, _ = run.score()
    assert len(keys(scores)) == len(set(keys(scores)))
    assert set(keys(scores)) == expected_rows(run.spec, scopes)
    assert not (scores["status"] == "failed").any()
    assert scores.loc[scores["status"] == "ok", "value"].notna().all()
    assert scores.loc[scores["status"] != "ok", "value"].isna().all()


def test_score_values_and_reasons_are_those_of_the_metrics(tmp_path):
    scores, _ = make(tmp_path).score()
    # correlation of z with z + 0.3 noise is at least 1/√1.09 = 0.958
    assert pick(scores, "mcc_pearson")["value"].between(0.95, 1).all()
    assert pick(scores, "mcc_pearson", "ood")["status"].eq("ok").all()
    assert pick(scores, "target_f1", variant="corrected")["value"].eq(1).all()
    assert pick(scores, "target_f1", variant="corrected")["reason"].str.startswith("score_source=mask").all()
    assert pick(scores, "target_f1", "ood", "corrected")["reason"].eq("split_undefined").all()
    assert pick(scores, "nelbo", "val")["value"].between(100, 110).all()
    assert pick(scores, "seed_target_jaccard")["value"].eq(1).all()


def test_score_reads_each_protocol_of_held_out_perturbations(tmp_path):
    scores, _ = make(tmp_path).score()
    before, after = (pick(scores, "nelbo", "ood", v)["value"].to_numpy() for v in ("zero_shot", "finetuned_half"))
    np.testing.assert_allclose(before - after, 3.0)
    single = scores[(scores["metric"] == "nelbo") & (scores["variant"] == "zero_shot") & scores["perturbation"].notna()]
    assert set(single["perturbation"]) == {"p006", "p007"}
    for variant in ("zero_shot", "finetuned_half"):  # in this run IWELBO = 1 - nELBO
        cost, bound = (pick(scores, m, "ood", variant)["value"].to_numpy() for m in ("nelbo", "iwelbo"))
        np.testing.assert_allclose(bound, 1 - cost)
    assert set(pick(scores, "nelbo", "ood", "finetuned_insample")["reason"]) == {"split_undefined"}
    assert pick(scores, "nelbo", "ood").empty


LIKELIHOODS = {
    # change of the file and of the model -> status and reason of iwelbo: usual, zero_shot, finetuned_half
    "not asked for": (lambda t: t.assign(iwelbo=np.nan), {}, ["not_applicable no_likelihood"] * 3),
    "not chosen": (lambda t: t[t["protocol"] == ""], {}, ["ok", *["not_applicable not_retrained"] * 2]),
    "cannot adapt": (
        lambda t: t[t["protocol"] == ""],
        {"adapts": False},
        ["ok", *["not_applicable split_undefined"] * 2],
    ),
    "nothing to fit": (
        lambda t: t[t["protocol"] == ""],
        {"label_conditioned": False, "adapts": False},
        ["ok", "ok", "not_applicable nothing_to_fit"],
    ),
    "label-free, trained twice": (
        lambda t: t[t["protocol"] != "finetuned_half"],
        {"label_conditioned": False, "adapts": False},
        ["ok", "ok", "not_applicable nothing_to_fit"],
    ),
    "fitting failed": (
        lambda t: t.assign(**{c: t[c].where(t["protocol"] != "finetuned_half") for c in ("nelbo", "iwelbo")}),
        {},
        ["ok", "ok", "failed nonfinite_iwelbo"],
    ),
    "fitted bound is infinite": (
        lambda t: t.assign(iwelbo=t["iwelbo"].where(t["protocol"] != "finetuned_half")),
        {},
        ["ok", "ok", "failed nonfinite_iwelbo"],
    ),
}


@pytest.mark.parametrize("case", LIKELIHOODS)
def test_score_says_why_a_bound_is_missing(tmp_path, case):
    change, model, expected = LIKELIHOODS[case]
    run = make(tmp_path)
    for replicate in run.spec["replicates"]:
        for seed in run.spec["seeds"]:
            path = run.folder(replicate, seed) / "likelihood.parquet"
            io.write_table(change(io.read_table(path, "likelihood")), path, "likelihood")
    scores, _ = run.score(metrics={"iwelbo": run.spec["metrics"]["iwelbo"]}, **model)
    found = []
    for scope, variant in (("iid", ""), ("ood", "zero_shot"), ("ood", "finetuned_half")):
        (one,) = {
            (s, r) for s, r in pick(scores, "iwelbo", scope, variant)[["status", "reason"]].itertuples(index=False)
        }
        found.append("ok" if one[0] == "ok" else " ".join(one))
    assert found == expected


def test_a_second_training_that_failed_fails_the_protocols_of_its_split(tmp_path):
    run = make(tmp_path)
    path = run.infer[0] / "members.parquet"
    table = io.read_table(path, "members")
    table.loc[table["member"] == "r0.g0.s1", "retrained"] = "failed:nonfinite_loss"
    io.write_table(table, path, "members")
    own = run.folder(0, 1) / "likelihood.parquet"
    io.write_table(io.read_table(own, "likelihood").query("protocol == ''"), own, "likelihood")
    scores, _ = run.score()
    lost = scores[(scores["replicate"] == 0) & (scores["seed"] == 1)]
    failed = lost[lost["status"] == "failed"]
    assert set(zip(failed["metric"], failed["variant"], failed["reason"], strict=True)) == {
        (metric, variant, "nonfinite_loss")
        for metric in ("nelbo", "iwelbo")
        for variant in ("zero_shot", "finetuned_half")
    }
    assert set(lost.loc[lost["variant"] == "finetuned_insample", "reason"]) == {"split_undefined"}
    assert len(scores[scores["status"] == "failed"]) == len(failed) == 4


def test_likelihoods_in_another_order_are_aligned_by_cell(tmp_path):
    run = make(tmp_path)
    before, _ = run.score()
    path = run.folder(0, 0) / "likelihood.parquet"
    table = io.read_table(path, "likelihood")
    io.write_table(table.sample(frac=1, random_state=0), path, "likelihood")
    pd.testing.assert_frame_equal(before, run.score()[0])


def test_extra_members_of_a_choice_are_not_scored(tmp_path):
    run = make(tmp_path)
    before, _ = run.score()
    path = run.infer[0] / "members.parquet"
    table = io.read_table(path, "members")
    extra = table.iloc[:1].assign(member="r0.g0.v0", role="heldout_validation", status="failed", reason="oom")
    io.write_table(pd.concat([table, extra]), path, "members")
    pd.testing.assert_frame_equal(before, run.score()[0])


def test_score_rows_carry_their_hashes(tmp_path):
    run = make(tmp_path)
    scores, _ = run.score()
    assert set(scores["hash_split"]) == {"feedfeedfeedfeed"}
    assert set(scores["hash_config"]) == {run.spec["hash_config"]}
    for replicate, path in enumerate(run.data):
        assert set(scores.loc[scores["replicate"] == replicate, "hash_data"]) == {io.digest(path)}


def test_score_is_the_same_twice_and_for_any_model_name(tmp_path):
    run = make(tmp_path)
    first, second = run.score()[0], run.score(model="other")[0]
    pd.testing.assert_frame_equal(first.drop(columns="model"), second.drop(columns="model"))


def test_score_without_truth_says_so(tmp_path):
    scores, aligned = make(tmp_path, with_truth=False).score()
    for metric, variant in (("mcc_pearson", ""), ("r2_linear", "within"), ("target_auprc", "corrected")):
        for scope in ("iid", "ood"):
            assert pick(scores, metric, scope, variant)["reason"].eq("no_truth").all()
    assert pick(scores, "seed_mcc")["status"].eq("ok").all()
    assert aligned.empty


def test_score_with_nothing_held_out_has_undefined_ood_rows(tmp_path):
    scores, _ = make(tmp_path, heldout=0).score()
    ood = scores[scores["scope"] == "ood"]
    assert len(ood)
    assert set(zip(ood["status"], ood["reason"], strict=True)) == {("not_applicable", "split_undefined")}


def test_failed_member_fails_its_rows_and_its_group_only(tmp_path):
    run = make(tmp_path)
    write_status(run, failed={"r0.g0.s1": "nonfinite_parameters"})
    scores, aligned = run.score()
    assert set(keys(scores)) == expected_rows(run.spec, HELDOUT)
    lost = (scores["replicate"] == 0) & (scores["seed"] == 1)
    assert set(scores.loc[lost, "reason"]) == {"nonfinite_parameters"}
    assert pick(scores, "seed_mcc")["reason"].tolist() == ["member_failed"]
    assert set(scores.loc[scores["status"] == "failed", "reason"]) == {"nonfinite_parameters", "member_failed"}
    assert pick(scores, "seed_mcc", replicate=1)["status"].tolist() == ["ok"]
    assert set(aligned["seed"]) == {0}


@pytest.mark.parametrize("reason", ["oom", None])
def test_failed_job_fails_every_row(tmp_path, reason):
    run = make(tmp_path)
    if reason is None:
        shutil.rmtree(run.infer[0])
    else:
        write_status(run, job=reason)
    scores, aligned = run.score()
    assert set(keys(scores)) == expected_rows(run.spec, HELDOUT)
    assert set(scores["status"]) == {"failed"}
    assert set(scores["reason"]) == {reason or "killed", "member_failed"}
    assert aligned.empty


def test_member_without_output_fails(tmp_path):
    run = make(tmp_path)
    shutil.rmtree(run.folder(1, 0))
    scores, _ = run.score()
    lost = scores[(scores["replicate"] == 1) & (scores["seed"] == 0)]
    assert set(lost["reason"]) == {"no_output"}


def test_nan_latents_fail_that_member_alone(tmp_path):
    run = make(tmp_path)
    cell_id, z, _ = io.read_latents(run.folder(0, 0) / "latents.npz")
    io.write_latents(run.folder(0, 0) / "latents.npz", cell_id, np.full_like(z, np.nan))
    scores, _ = run.score()
    one = scores[(scores["replicate"] == 0) & (scores["seed"] == 0)]
    assert set(one.loc[one["metric"] == "mcc_pearson", "reason"]) == {"nonfinite_latents"}
    assert set(one.loc[(one["metric"] == "nelbo") & (one["scope"] != "ood"), "status"]) == {"ok"}
    assert pick(scores, "seed_mcc")["reason"].tolist() == ["nonfinite_latents"]
    assert set(scores.loc[(scores["replicate"] == 0) & (scores["seed"] == 1), "status"]) <= {"ok", "not_applicable"}


@pytest.fixture
def no_plugins(monkeypatch):
    monkeypatch.setattr(registry, "_plugins", {})
    yield
    sys.modules.pop("scident_plugin_metrics_broken", None)


@pytest.mark.usefixtures("no_plugins")
def test_metric_that_raises_stops_no_other(tmp_path):
    plugin = tmp_path / "broken.py"
    plugin.write_text(
        "from scident.info import MetricInfo\nfrom scident.params import PluginParams\n"
        "info = MetricInfo(label='B', source='nobody', formula='1/0', needs=(), range=(0.0, 1.0), better='higher',\n"
        "                  variants=('a', 'b'))\n"
        "class Params(PluginParams):\n    nan: bool = False\n"
        "def score(inputs, params, rng):\n"
        "    from scident.metrics.base import Value\n"
        "    return [Value(float('nan'), variant='a')] if params.nan else 1 / 0\n"
    )
    run = make(tmp_path)
    broken = {"use": "broken", "params": {}}
    metrics = {
        "crash": broken,
        "blank": {**broken, "params": {"nan": True}},
        "mistyped": {**broken, "params": {"x": 1}},
    }
    scores, _ = run.score(plugins=[str(plugin)], metrics=run.spec["metrics"] | metrics)
    crash = scores[scores["metric"] == "crash"]
    assert set(crash["variant"]) == {"a", "b"}
    assert set(crash["reason"]) == {"exception: ZeroDivisionError: division by zero"}
    blank = scores[scores["metric"] == "blank"]
    assert set(zip(blank["variant"], blank["reason"], strict=True)) == {
        ("a", "nonfinite_score"),
        ("b", "variant_missing"),
    }
    assert scores.loc[scores["metric"] == "mistyped", "reason"].str.startswith("exception: ValidationError").all()
    assert pick(scores, "mcc_pearson")["status"].eq("ok").all()


def test_latents_in_another_order_are_aligned_by_cell(tmp_path):
    run = make(tmp_path)
    before, _ = run.score()
    cell_id, z, _ = io.read_latents(run.folder(0, 0) / "latents.npz")
    io.write_latents(run.folder(0, 0) / "latents.npz", cell_id[::-1], z[::-1])
    pd.testing.assert_frame_equal(before, run.score()[0])


@pytest.mark.parametrize("broken", ["latents", "targets"])
def test_member_of_wrong_shape_fails(tmp_path, broken):
    run = make(tmp_path)
    folder = run.folder(0, 0)
    if broken == "latents":
        cell_id, z, _ = io.read_latents(folder / "latents.npz")
        io.write_latents(folder / "latents.npz", cell_id[1:], z[1:])
    else:
        table = io.read_table(folder / "targets.parquet", "targets")
        io.write_table(table.iloc[1:], folder / "targets.parquet", "targets")
    scores, _ = run.score()
    lost = scores[(scores["replicate"] == 0) & (scores["seed"] == 0)]
    assert lost["reason"].str.startswith("shape: ").all()


def test_deterministic_members_are_scored_once(tmp_path, monkeypatch):
    run = make(tmp_path)
    shutil.rmtree(run.folder(0, 1))
    shutil.copytree(run.folder(0, 0), run.folder(0, 1))
    plain, _ = run.score()
    from scident.metrics import mcc_pearson

    calls, original = [], mcc_pearson.score
    monkeypatch.setattr(mcc_pearson, "score", lambda *a: calls.append(1) or original(*a))
    pd.testing.assert_frame_equal(plain, run.score(stochastic=False)[0])
    # iid and ood: once for the two equal seeds of replicate 0, twice for the different ones of replicate 1
    assert len(calls) == 6


def test_aligned_table_is_the_median_seed_of_the_first_replicate(tmp_path):
    run = make(tmp_path)
    obs, _, _ = labels(1120, 8)
    known = io.read_truth(run.truth[0])
    z, truth = known.obsm["z_true"], known.uns["targets"]
    run.spec["seeds"] = [0, 1, 2]
    for seed, noise in enumerate((2.0, 0.0, 0.5)):
        order = np.array([2, 0, 1])
        seen = z + noise * np.random.default_rng(seed).standard_normal(z.shape)
        write_member(run.folder(0, seed), obs, -seen[:, order], truth[:, order])
    write_status(run)
    _, aligned = run.score()
    assert set(aligned["seed"]) == {2}
    assert len(aligned) == truth.size
    np.testing.assert_array_equal(aligned["true"].to_numpy().reshape(truth.shape), truth)
    assert (aligned["on"] == aligned["true"]).all()
    assert set(aligned["source"]) == {"mask"}


def test_cells_are_capped_alike_for_equal_parts(tmp_path, monkeypatch):
    run = make(tmp_path, protocol="released")
    monkeypatch.setattr(_score_inputs, "CAP", 200)
    parts = io.read_table(tmp_path / "split/world/unseen/parts.parquet", "parts")
    world = _score_inputs.read_world(0, run.data[0], run.truth[0], parts)
    member = _score_inputs.read_member(run.folder(0, 0), (0, "default", 0), world, label_conditioned=False)
    insample, ood = (_score_inputs.inputs_for(world, scope, (member,), run.spec) for scope in ("insample", "ood"))
    assert len(insample.fit) == 200
    np.testing.assert_array_equal(insample.fit, insample.score)
    np.testing.assert_array_equal(insample.fit, ood.fit)
    assert set(world.obs["part"].iloc[ood.score]) == {"heldout_score"}


def test_files_of_other_cells_are_refused(tmp_path):
    run = make(tmp_path)
    parts = io.read_table(tmp_path / "split/world/unseen/parts.parquet", "parts")
    with pytest.raises(ContractError, match="1 cells have no part"):
        _score_inputs.read_world(0, run.data[0], None, parts.iloc[1:])
    known = io.read_truth(run.truth[0])
    io.write_h5ad(known[::-1].copy(), run.truth[0])
    with pytest.raises(ContractError, match="other cells or perturbations"):
        _score_inputs.read_world(0, run.data[0], run.truth[0], parts)
