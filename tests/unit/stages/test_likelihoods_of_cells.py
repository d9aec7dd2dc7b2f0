"""Which cells a trained model's bounds are computed for, and under which protocol of held-out perturbations."""

import anndata as ad
import numpy as np
import pandas as pd

from scident import io
from scident.info import ModelInfo
from scident.models.base import Model
from scident.params import PluginParams
from scident.stages._likelihoods import World, likelihoods
from scident.types import Likelihood

PARTS = ["train", "val", "fit", "score"]
SEEN, HELD = ["a", "b"], ["c", "d"]
CELLS = 6


class Told(Model):
    """Its negative ELBO says whether the cell's label was fitted to; it remembers what it was asked."""

    def __init__(self, known=tuple(SEEN), level=0.0):
        super().__init__(PluginParams(), 2)
        self.known, self.level = set(known), level
        self.fitted_to, self.published = None, None

    def fit(self, train, val, rng):
        raise AssertionError

    def embed(self, cells):
        raise AssertionError

    def prepared(self):
        self.ready = Told(self.known, level=100.0)
        return self.ready

    def adapt(self, cells, rng, published=False):
        self.fitted_to, self.published = list(cells.obs_names), published
        return Told(self.known | set(cells.obs["perturbation"].astype(str)), level=200.0)

    def likelihood(self, cells, rng, samples=0):
        known = cells.obs["perturbation"].isin(self.known).to_numpy()
        value = self.level + np.where(known, 1.0, 2.0)
        return Likelihood(value, -value if samples else None)


def world(tmp_path, released=False):
    inside = ["train", "val"] if released else PARTS
    outside = ["heldout_score"] if released else ["heldout_fit", "heldout_score"]
    rows = [(name, part) for name in SEEN for part in inside for _ in range(CELLS)]
    rows += [(name, part) for name in HELD for part in outside for _ in range(CELLS)]
    obs = pd.DataFrame(rows, columns=["perturbation", "part"], index=[f"cell{i}" for i in range(len(rows))])
    cut = pd.DataFrame({"replicate": 0, "cell_id": obs.index, "part": obs["part"].to_numpy(), "heldout": False})
    obs["perturbation"] = pd.Categorical(obs["perturbation"])
    cells = ad.AnnData(np.ones((len(rows), 3), dtype=np.float32), obs=obs.drop(columns="part"))
    cells.obs["is_control"], cells.obs["context"] = False, "all"
    io.write_h5ad(cells, tmp_path / "r0.h5ad")
    return World(0, [tmp_path / "r0.h5ad"], [], cut, cells.var_names), obs["part"]


def info(*, adapts, label_conditioned=True):
    gives = ("latents", "likelihood")
    return ModelInfo(
        label="Told", source="a test", role="method", gives=gives, adapts=adapts, label_conditioned=label_conditioned
    )


def ask(place, model, kind, retrained="ok", samples=7):
    return likelihoods(model, kind, place, retrained, np.random.default_rng(0), samples)


def test_before_and_after_fitting_half_of_the_held_out_cells(tmp_path):
    place, part = world(tmp_path)
    model = Told()
    found = ask(place, model, info(adapts=True))
    assert set(found["protocol"]) == {"", "zero_shot", "finetuned_half"}
    before = found[found["protocol"] == "zero_shot"]
    after = found[found["protocol"] == "finetuned_half"]
    assert set(before["nelbo"]) == {102.0}  # the prepared model, labels unknown
    assert set(after["nelbo"]) == {201.0}  # the adapted one, labels known
    for frame in (before, after):
        assert set(part[frame["cell_id"]]) == {"heldout_score"}
        assert len(frame) == (part == "heldout_score").sum()
        np.testing.assert_array_equal(frame["iwelbo"], -frame["nelbo"])
    assert set(part[model.ready.fitted_to]) == {"heldout_fit"}
    assert model.ready.published is False


def test_as_published_the_shift_is_fitted_on_the_scored_cells(tmp_path):
    place, part = world(tmp_path, released=True)
    model = Told()
    found = ask(place, model, info(adapts=True))
    assert set(found["protocol"]) == {"", "zero_shot", "finetuned_insample"}
    assert set(part[model.ready.fitted_to]) == {"heldout_score"}
    assert model.ready.published is True
    usual = found[found["protocol"] == ""]
    assert set(part[usual["cell_id"]]) == {"train", "val"}  # published code scores its training cells


def test_a_bound_that_depends_on_the_label_is_not_computed_for_labels_never_trained_on(tmp_path):
    place, part = world(tmp_path)
    found = ask(place, Told(), info(adapts=False), retrained="no")
    assert set(found["protocol"]) == {""}
    assert set(part[found["cell_id"]]) == {"val", "fit", "score"}
    found = ask(place, Told(), info(adapts=False, label_conditioned=False), retrained="no")
    assert set(part[found["cell_id"]]) == {"val", "fit", "score", "heldout_fit", "heldout_score"}


def test_the_expensive_bound_is_for_the_cells_that_metrics_report_on(tmp_path):
    place, part = world(tmp_path)
    found = ask(place, Told(), info(adapts=False, label_conditioned=False), retrained="no")
    tight = found[found["iwelbo"].notna()]
    assert set(part[tight["cell_id"]]) == {"score", "heldout_score"}
    assert found["nelbo"].notna().all()
    assert found["cell_id"].is_unique
    assert ask(place, Told(), info(adapts=True), samples=0)["iwelbo"].isna().all()


def test_a_second_training_that_failed_leaves_no_rows(tmp_path):
    place, _ = world(tmp_path)
    found = ask(place, Told(), info(adapts=True), retrained="failed:nonfinite_loss")
    assert set(found["protocol"]) == {""}


def test_a_model_without_labels_is_scored_after_its_second_training_and_not_fitted(tmp_path):
    place, part = world(tmp_path)
    found = ask(place, Told(), info(adapts=False, label_conditioned=False))
    assert set(found["protocol"]) == {"", "zero_shot"}
    assert set(part[found.loc[found["protocol"] == "zero_shot", "cell_id"]]) == {"heldout_score"}


def test_a_grid_point_that_was_not_chosen_has_no_held_out_rows(tmp_path):
    place, _ = world(tmp_path)
    assert set(ask(place, Told(), info(adapts=True), retrained="no")["protocol"]) == {""}


def test_a_model_that_knows_what_labels_are_made_of_is_scored_as_it_stands(tmp_path, monkeypatch):
    place, part = world(tmp_path)
    asked = []
    monkeypatch.setattr(Told, "knows", lambda _, cells: asked.append(set(part[cells.obs_names])) or True)
    found = ask(place, Told(), info(adapts=False), retrained="no")
    assert asked == [{"heldout_score"}]
    before = found[found["protocol"] == "zero_shot"]
    assert set(part[before["cell_id"]]) == {"heldout_score"}
    np.testing.assert_array_equal(before["iwelbo"], -before["nelbo"])
    assert set(ask(place, Told(), info(adapts=False, label_conditioned=False), retrained="no")["protocol"]) == {""}


def test_unused_cells_have_no_rows(tmp_path):
    place, part = world(tmp_path)
    place.part[(part == "fit").to_numpy()] = "unused"
    found = ask(place, Told(), info(adapts=False), retrained="no")
    assert set(part[found["cell_id"]]) == {"val", "score"}
