"""Bounds compare in pairs only: arithmetic, pairing, the choice of the reference, and the gain from fitting."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from scident import contracts
from scident.aggregate.differences import REFERENCES, differences

KEYS = ["scope", "metric", "model", "variant", "reference", "reference_variant"]


def plan(**uses):
    """Model name -> plug-in file; `Other` in a name marks another observation model."""
    family = {name: "Poisson" if "other" in name else "negative binomial" for name in uses}
    metrics = {name: {"use": use} for name, use in {"nelbo": "nelbo", "iwelbo": "iwelbo", "tight": "iwelbo"}.items()}
    models = {name: {"use": use, "likelihood": family[name]} for name, use in uses.items()}
    return {"models": models, "metrics": metrics | {"mcc": {"use": "mcc_pearson"}}}


def rows(model, values, variant="", scope="iid", metric="iwelbo", status="ok", reason=""):
    """Values by (replicate, seed, perturbation); an aggregate row, which must not be read, beside each member."""
    base = {"dataset": "d", "split": "s", "scope": scope, "model": model, "grid_point": "default", "metric": metric}
    base |= {"variant": variant, "se": None, "n": 20, "status": status, "reason": reason}
    base |= dict.fromkeys(contracts.HASHES, "")
    found = [base | {"replicate": r, "seed": s, "perturbation": p, "value": v} for (r, s, p), v in values.items()]
    found += [
        base | {"replicate": r, "seed": s, "perturbation": None, "value": 1e6} for r, s in {k[:2] for k in values}
    ]
    return pd.DataFrame(found, columns=list(contracts.TABLES["scores"].columns))


def nothing(model, variant, reason="nothing_to_fit", scope="ood"):
    return rows(model, {(0, 0, None): None}, variant, scope, status="not_applicable", reason=reason)


def found(benchmark, *tables):
    table = differences(pd.concat(tables), benchmark)
    return contracts.check_table(table, "differences") if len(table) else table


def level(value, replicates=3, perturbations=("a", "b"), seeds=(0, 1)):
    return {(r, s, p): value + 10.0 * r for r in range(replicates) for s in seeds for p in perturbations}


def whole(table):
    return table[table["perturbation"].isna()].set_index(KEYS[2:])


def test_a_difference_averages_seeds_then_perturbations_then_replicates():
    method = {(0, 0, "a"): 4.0, (0, 1, "a"): 6.0, (0, 0, "b"): 1.0, (1, 0, "a"): 12.0, (1, 0, "b"): 15.0}
    reference = {(0, 0, "a"): 3.0, (0, 0, "b"): 0.0, (1, 0, "a"): 9.0, (1, 1, "a"): 11.0, (1, 0, "b"): 10.0}
    table = found(plan(m="svae_plus", v="vae"), rows("m", method), rows("v", reference))
    by_name = table.set_index(table["perturbation"].fillna("all"))
    # a: 5 - 3 and 12 - 10; b: 1 - 0 and 15 - 10; all: (2 + 1) / 2 and (2 + 5) / 2
    assert by_name["difference"].to_dict() == pytest.approx({"a": 2.0, "b": 3.0, "all": 2.5})
    half = stats.t.ppf(0.975, 1) * np.std([1.5, 3.5], ddof=1) / np.sqrt(2)
    assert (by_name.loc["all", "low"], by_name.loc["all", "high"]) == pytest.approx((2.5 - half, 2.5 + half))
    assert by_name.loc["a", "low"] == by_name.loc["a", "high"] == pytest.approx(2.0)
    assert set(table["units"]) == {2}
    assert set(table["reference"]) == {"v"}


def test_what_moves_whole_replicates_moves_no_difference():
    benchmark = plan(m="svae_plus", v="vae")
    table = whole(found(benchmark, rows("m", level(1.0)), rows("v", level(0.0))))
    assert table["difference"].tolist() == pytest.approx([1.0])
    assert (table["high"] - table["low"]).tolist() == pytest.approx([0.0], abs=1e-12)


def test_only_pairs_with_both_sides_count():
    method = level(1.0) | {(0, s, "c"): 99.0 for s in (0, 1)}
    reference = {key: value for key, value in level(0.0).items() if key[0] != 2}
    table = found(plan(m="svae_plus", v="vae"), rows("m", method), rows("v", reference))
    assert set(table["perturbation"].dropna()) == {"a", "b"}
    assert whole(table)[["units", "difference"]].iloc[0].tolist() == [2, pytest.approx(1.0)]


def test_one_replicate_has_no_interval():
    table = whole(found(plan(m="svae_plus", v="vae"), rows("m", level(1.0, 1)), rows("v", level(0.0, 1))))
    assert table["low"].isna().all()
    assert table["high"].isna().all()
    assert table["units"].tolist() == [1]


def test_failed_rows_are_not_paired():
    lost = rows("m", {(0, 0, "a"): 1.0}, status="failed", reason="oom")
    assert found(plan(m="svae_plus", v="vae"), lost, rows("v", level(0.0))).empty


@pytest.mark.parametrize("position", range(len(REFERENCES)))
def test_the_first_reference_with_values_takes_the_part(position):
    uses = {f"entry_{use}": use for use in reversed(REFERENCES[position:])}
    tables = [rows(name, level(float(i))) for i, name in enumerate(uses)]
    table = found(plan(m="svae_plus", **uses), rows("m", level(7.0)), *tables)
    assert set(table["reference"]) == {f"entry_{REFERENCES[position]}"}


def test_of_two_entries_of_a_plugin_the_first_in_the_plan_is_the_reference():
    table = found(plan(m="pca", wide="vae", narrow="vae"), *(rows(n, level(0.0)) for n in ("narrow", "wide", "m")))
    assert set(table["reference"]) == {"wide"}


def test_without_a_reference_nothing_is_compared():
    assert found(plan(m="svae_plus", other="pca"), rows("m", level(1.0)), rows("other", level(0.0))).empty


def test_another_observation_model_is_not_compared():
    table = found(plan(m="svae_plus", v="vae", other="vae"), *(rows(n, level(0.0)) for n in ("m", "v", "other")))
    assert set(table["model"]) == {"m"}


def heldout_tables():
    return (
        rows("m", level(1.0), "zero_shot", "ood"),
        rows("m", level(4.0), "finetuned_half", "ood"),
        rows("i", level(0.0), "zero_shot", "ood"),
        rows("i", level(2.0), "finetuned_half", "ood"),
        rows("v", level(-1.0), "zero_shot", "ood"),
        nothing("v", "finetuned_half"),
        nothing("v", "finetuned_insample"),
    )


HELDOUT = plan(m="svae_plus", i="ivae_released", v="vae")


def test_each_protocol_has_its_own_reference_and_each_fitted_model_its_gain():
    table = whole(found(HELDOUT, *heldout_tables()))
    before, after = "zero_shot", "finetuned_half"
    assert table["difference"].to_dict() == pytest.approx(
        {
            ("m", before, "i", before): 1.0,
            ("v", before, "i", before): -1.0,
            ("m", after, "i", after): 2.0,
            ("v", before, "i", after): -3.0,  # nothing to fit: beside fitted ones with its value before
            ("m", after, "m", before): 3.0,
            ("i", after, "i", before): 2.0,
        }
    )


def test_a_reference_with_nothing_to_fit_stands_beside_fitted_models_too():
    tables = [t for t in heldout_tables() if not (t["model"] == "i").all()]
    free = [rows("b", level(-3.0), "zero_shot", "ood"), nothing("b", "finetuned_half")]
    table = whole(found(plan(m="svae_plus", v="vae", b="beta_vae"), *tables, *free))
    assert table["difference"].to_dict() == pytest.approx(
        {
            ("m", "zero_shot", "v", "zero_shot"): 2.0,
            ("b", "zero_shot", "v", "zero_shot"): -2.0,  # once: neither of the two is ever fitted
            ("m", "finetuned_half", "v", "zero_shot"): 5.0,
            ("m", "finetuned_half", "m", "zero_shot"): 3.0,
        }
    )
    assert len(table) == 4


def test_a_bound_is_known_by_its_plugin_not_by_the_name_of_its_entry():
    table = whole(found(plan(m="svae_plus", v="vae"), *(rows(n, level(0.0), metric="tight") for n in "mv")))
    assert set(table["metric"]) == {"tight"}


def test_a_model_that_could_be_fitted_but_was_not_stays_away_from_fitted_ones():
    tables = [t for t in heldout_tables() if not (t["model"] == "v").all()]
    table = whole(found(HELDOUT, *tables, rows("v", level(-1.0), "zero_shot", "ood")))
    assert set(table.loc[table.index.get_level_values("model") == "v"].index) == {("v", "zero_shot", "i", "zero_shot")}


def test_validation_cells_and_other_metrics_are_not_compared():
    tables = [rows(n, level(0.0), scope="val") for n in "mv"] + [rows(n, level(0.0), metric="mcc") for n in "mv"]
    assert found(plan(m="svae_plus", v="vae"), *tables).empty


def test_both_bounds_are_compared_apart():
    tables = [rows(n, level(v), metric=name) for n, v, name in (("m", 1, "nelbo"), ("v", 0, "nelbo"))]
    tables += [rows(n, level(v)) for n, v in (("m", 5), ("v", 0))]
    table = found(plan(m="svae_plus", v="vae"), *tables)
    table = table[table["perturbation"].isna()].set_index("metric")
    assert table["difference"].to_dict() == pytest.approx({"nelbo": 1.0, "iwelbo": 5.0})


@pytest.mark.parametrize("seed", range(3))
def test_order_of_rows_changes_nothing(seed):
    mixed = pd.concat(heldout_tables()).sample(frac=1, random_state=seed)
    pd.testing.assert_frame_equal(found(HELDOUT, mixed), found(HELDOUT, *heldout_tables()))
