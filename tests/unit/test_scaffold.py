"""`scident new` writes a plug-in that works as it is."""

from importlib import import_module

import numpy as np
import pytest

from _cells import mapped
from _worlds import gaussian, member, world
from scident import config, contracts, io, registry
from scident.errors import ConfigError, DataError, NotApplicable, PluginError
from scident.plan import Plan
from scident.scaffold import KINDS, write_template
from scident.stages import data, infer, score, split, train

TEMPLATES = {kind: import_module(f"scident.templates.{kind}") for kind in KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_is_found_under_its_name_and_label(kind, plugins, tmp_path):
    message = write_template(kind, "my_own", tmp_path)
    path = tmp_path / "my_own.py"
    assert f"wrote {path}" in message
    assert f"plugins: [{path}]" in message
    assert f"docs/add-a-{kind}.md" in message
    plugins([path])
    assert registry.describe(KINDS[kind], "my_own").label == "my_own"
    assert "emplate" not in path.read_text()
    assert registry.load(KINDS[kind], "my_own").info.label == "my_own"


def test_a_checkout_gets_the_file_into_its_package(monkeypatch, tmp_path):
    package = tmp_path / "src" / "scident"
    package.mkdir(parents=True)
    (tmp_path / "pyproject.toml").touch()
    (package / "templates").symlink_to(registry.PACKAGE / "templates")
    monkeypatch.setattr(registry, "PACKAGE", package)
    message = write_template("model", "foo")
    assert "class Foo(Model)" in (package / "models" / "foo.py").read_text()
    assert "plugins:" not in message
    assert "  models:\n    foo:\n" in message
    assert "pytest tests/contract -k foo" in message


def test_an_installed_package_gets_the_file_into_the_working_directory(monkeypatch, tmp_path):
    package = tmp_path / "site" / "scident"
    package.mkdir(parents=True)
    (package / "templates").symlink_to(registry.PACKAGE / "templates")
    monkeypatch.setattr(registry, "PACKAGE", package)
    monkeypatch.chdir(tmp_path)
    message = write_template("simulator", "foo")
    assert (tmp_path / "foo.py").is_file()
    assert "plugins: [foo.py]" in message
    assert "  datasets:\n    foo:\n" in message


@pytest.mark.parametrize("name", ["Foo", "1foo", "my-model", "", "class", "base", "_foo", "foo/bar", "föö"])
def test_a_bad_name_is_refused(name, tmp_path):
    with pytest.raises(PluginError, match="cannot be the name of a model"):
        write_template("model", name, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("kind", "name", "by"),
    [
        ("model", "pca", "models/pca.py"),
        ("dataset", "sparse_shift", "simulators/sparse_shift.py"),
        ("simulator", "h5ad", "datasets/h5ad.py"),
    ],
)
def test_a_taken_name_is_refused(kind, name, by, tmp_path):
    with pytest.raises(PluginError, match=f"{name!r} is taken by {by}"):
        write_template(kind, name, tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_existing_file_is_left_alone(tmp_path):
    (tmp_path / "foo.py").write_text("mine")
    with pytest.raises(PluginError, match=r"foo\.py exists already"):
        write_template("model", "foo", tmp_path)
    assert (tmp_path / "foo.py").read_text() == "mine"


def test_an_unknown_kind_names_the_nearest(tmp_path):
    with pytest.raises(PluginError, match=r"'mudel'; known: .*Did you mean 'model'\?"):
        write_template("mudel", "foo", tmp_path)


def test_new_plugins_run_from_data_to_scores(plugins, tmp_path):
    names = {kind: f"new_{kind}" for kind in KINDS}
    for kind, name in names.items():
        write_template(kind, name, tmp_path)
    raw = {
        "datasets": {names["simulator"]: {"n_latents": 4}, names["dataset"]: {"n_latents": 4}},
        "splits": {names["split"]: {}},
        "models": {names["model"]: {}},
        "metrics": {names["metric"]: {}, "mcc_pearson": {}},
        "plugins": [str(tmp_path / f"{name}.py") for name in names.values()],
        "replicates": 1,
    }
    plan = Plan(config.load(raw))
    for dataset, truth in ((names["simulator"], True), (names["dataset"], False)):
        table = run(plan, dataset, names["split"], names["model"], tmp_path / dataset, truth)
        new = table[table["metric"] == names["metric"]]
        assert set(new["scope"]) == {"iid", "ood"}
        assert (new["status"] == "ok").all()
        assert new["value"].between(0, 1).all()
        known = table[(table["metric"] == "mcc_pearson") & (table["scope"] == "iid")]
        assert (known["status"] == ("ok" if truth else "not_applicable")).all()


def run(plan, dataset, name, model, root, truth):
    files = [root / "r0.h5ad"], [root / "r0.truth.h5ad"] if truth else []
    data.run(plan.data_spec(dataset), 0, files[0][0], files[1][0] if truth else None, root)
    cut = root / "parts.parquet", root / "train.h5ad", root / "parts.sha256"
    split.run(plan.split_spec(dataset, name), files[0], *cut)
    train.run(plan.model_spec(dataset, name, model, 0, "train"), cut[1], root / "train")
    infer.run(
        plan.model_spec(dataset, name, model, 0, "infer"), root / "train", files[0], [], cut[0], root / "infer/s0"
    )
    out = root / "score.parquet", root / "aligned.parquet"
    score.run(plan.score_spec(dataset, name, model), [root / "infer/s0"], *files, cut[0], *out)
    return io.read_table(out[0], "scores")


def test_model_keeps_the_genes_that_vary_most():
    adata = mapped()
    adata.X[:] = 3
    adata.X[:, 5] = np.where(np.arange(adata.n_obs) % 2, 200, 1)
    module = TEMPLATES["model"]
    fitted = module.Template(module.Params(), 3)
    fitted.fit(adata, adata, np.random.default_rng(0))
    assert 5 in fitted.state["genes"]
    z = fitted.embed(adata)
    assert z.shape == (adata.n_obs, 3)
    # standardised on the same cells: rounding of a few hundred terms
    np.testing.assert_allclose(z.mean(0), 0, atol=1e-12)
    np.testing.assert_allclose(z.std(0), 1, rtol=1e-12)


def test_metric_is_one_for_a_look_up_and_small_for_noise():
    module = TEMPLATES["metric"]
    noise = gaussian(2000, 3)
    code = (np.arange(2000) % 10).astype(float)
    found = [
        module.score(world(None, member(z)), module.Params(), np.random.default_rng(0))[0].value
        for z in (code[:, None] + np.zeros(3), noise, np.ones((2000, 3)))
    ]
    assert found[0] == pytest.approx(1.0)
    # under noise the share is (labels - 1) / (cells - 1) = 0.009 ± 0.0025 per latent
    assert found[1] == pytest.approx(0.009, abs=0.006)
    assert found[2] == 0.0


def test_metric_refuses_a_single_perturbation():
    module = TEMPLATES["metric"]
    with pytest.raises(NotApplicable, match="one_perturbation"):
        module.score(world(None, member(gaussian(400, 2)), n_perts=1), module.Params(), np.random.default_rng(0))


def test_simulator_moves_one_factor_for_each_perturbation_and_none_for_the_control():
    module = TEMPLATES["simulator"]
    adata = module.simulate(module.Params(n_latents=3, n_perturbations=6), np.random.default_rng(0))
    shift = adata.uns["shift"]
    assert shift.shape == (7, 3)
    assert (shift[0] == 0).all()
    assert ((shift[1:] != 0).sum(1) == 1).all()
    means = adata.obsm["z_true"][adata.obs["perturbation"].cat.codes == 1].mean(0)
    assert means == pytest.approx(shift[1], abs=0.5)  # five standard errors of 100 cells
    world_ = adata.uns["world"]
    mean, slopes = module.expected(world_, np.zeros((1, 3)))
    np.testing.assert_allclose(mean[0], np.exp(world_["bias"]))
    np.testing.assert_allclose(slopes[0], mean[0][:, None] * world_["weights"].T)


def test_dataset_reads_a_table(tmp_path):
    module = TEMPLATES["dataset"]
    path = tmp_path / "counts.csv"
    path.write_text("cell,perturbation,g1,g2\na,nt,1,0\nb,x10,2,3\nc,x9,0,4\n")
    adata = module.load(module.Params(table=str(path), control="nt"), tmp_path)
    contracts.check_data(adata)
    assert adata.X.tolist() == [[1, 0], [2, 3], [0, 4]]
    assert adata.obs["perturbation"].cat.categories.tolist() == ["nt", "x9", "x10"]
    assert adata.obs["is_control"].tolist() == [True, False, False]
    contracts.check_data(module.load(module.Params(), tmp_path))


@pytest.mark.parametrize(
    ("text", "says"), [(None, "no such file"), ("cell,label,g1\na,x,1\n", "no column 'perturbation'")]
)
def test_dataset_says_what_is_wrong_with_a_table(text, says, tmp_path):
    module = TEMPLATES["dataset"]
    if text is not None:
        (tmp_path / "counts.csv").write_text(text)
    with pytest.raises(DataError, match=says):
        module.load(module.Params(table=str(tmp_path / "counts.csv")), tmp_path)


def test_split_holds_out_every_nth_perturbation_and_no_control():
    module = TEMPLATES["split"]
    adata = mapped(labels=("control", "a", "b", "c", "d", "e"))
    found = module.assign(adata, module.Params(every=2), np.random.default_rng(0))
    assert set(adata.obs["perturbation"][found.to_numpy()]) == {"b", "d"}
    with pytest.raises(ConfigError, match="every is 9, but there are 5 perturbations"):
        module.assign(adata, module.Params(every=9), np.random.default_rng(0))
