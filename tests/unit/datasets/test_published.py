"""Every published dataset comes out of a file of its schema as the data contract wants it."""

import logging
import re
from dataclasses import replace

import anndata as ad
import numpy as np
import pandas as pd
import pytest
from scipy import sparse

from _miniatures import GWPS, MINIATURES, by_the_authors, deliver, in_the_old_way, publish
from scident import contracts, io, registry
from scident.datasets import _published
from scident.download import record
from scident.errors import ConfigError, DataError
from scident.info import Size
from scident.listing import plugin_table
from scident.stages import check, data

NAMES = sorted(MINIATURES)
PUBLISHED = [name for name in registry.known("datasets") if registry.describe("datasets", name).files]
CLAIMS = {"cells", "genes", "perturbations", "control", "context", "dose", "batch", "licence"}


def loaded(name, monkeypatch, tmp_path, adata=None, **params):
    module, _ = publish(name, monkeypatch, tmp_path, adata)
    return module.load(module.Params(**params), tmp_path / "cache")


def test_every_published_dataset_has_a_miniature():
    assert NAMES == PUBLISHED


@pytest.fixture(scope="module", params=NAMES)
def result(request, tmp_path_factory):
    """Name of a dataset and what its loader makes of the miniature, for tests that only look at it."""
    with pytest.MonkeyPatch.context() as patch:
        return request.param, loaded(request.param, patch, tmp_path_factory.mktemp("result"))


def test_load_gives_labels_and_counts_of_the_labelled_cells(result):
    name, found = result
    made = MINIATURES[name]()
    contracts.check_data(found)
    assert found.shape == (made.cells, made.genes)
    assert set(found.obs["perturbation"].cat.categories) == made.labels
    assert found.obs["context"].nunique() == made.contexts
    assert sparse.issparse(found.X)
    assert found.X.format == "csr"
    assert found.X.dtype == np.uint16
    x = made.adata.X if sparse.issparse(made.adata.X) else sparse.csr_matrix(made.adata.X)
    columns = made.adata.var_names.get_indexer(found.var_names)
    assert (columns >= 0).all()
    wanted = x.tocsr()[made.adata.obs_names.get_indexer(found.obs_names)][:, columns]
    np.testing.assert_array_equal(found.X.toarray(), wanted.toarray())


def test_load_gives_the_columns_that_info_names(result):
    name, found = result
    info = registry.describe("datasets", name)
    named = [column for column in ("dose", "batch") if getattr(info.columns, column)]
    assert list(found.obs) == ["perturbation", "is_control", "context", *named]
    controls = found.obs["is_control"]
    assert controls.equals(found.obs["perturbation"].astype(str) == info.columns.control)
    assert controls.any() == (name != "replogle2022_k562_gwps")
    if "dose" in found.obs:
        assert (found.obs.loc[controls, "dose"] == 0).all()
        assert (found.obs.loc[~controls, "dose"] > 0).all()


@pytest.mark.parametrize("name", ["norman2019", "sciplex3", "replogle2022_k562_essential"])  # by genes, by cells, dense
def test_data_stage_stores_small_integers_and_readers_get_floats(name, monkeypatch, tmp_path):
    publish(name, monkeypatch, tmp_path)
    spec = {"name": "mine", "kind": "datasets", "use": name, "params": {}}
    data.run(spec, 0, tmp_path / "r0.h5ad", None, tmp_path)
    import h5py

    with h5py.File(tmp_path / "r0.h5ad") as file:
        assert file["X/data"].dtype == np.uint16
    assert io.read_data(tmp_path / "r0.h5ad").X.dtype == np.float32


@pytest.mark.parametrize("name", NAMES)
def test_check_summarises_a_file_of_the_published_size(name, monkeypatch, tmp_path):
    module, path = publish(name, monkeypatch, tmp_path)
    report = check.run_published(path, name)
    assert not report.errors
    assert not [note for note in report.notes if "expected" in note]
    made = MINIATURES[name]()
    control = module.info.columns.control
    text = "\n".join(report.summary)
    for line in (
        f"cells               {made.cells}\n",
        f"genes               {made.genes}\n",
        f"perturbations       {len(made.labels - {control})}, cells of each ",
        f"control cells       {f'{made.controls} ({control!r})' if made.controls else 'none'}\n",
        f"contexts            {made.contexts}\n",
        f"in a configuration  datasets: {{{name}: {{path: {path}}}}}",
    ):
        assert line in text


def test_check_notes_what_differs_in_a_part_of_the_published_file(command, tmp_path):
    path = tmp_path / "part.h5ad"
    MINIATURES["norman2019"]().adata.write_h5ad(path)
    status, out, _ = command("check", path, "--dataset", "norman2019")
    assert status == 0
    assert (
        "note   the file has 30 cells, and 111,445 are expected; so it is not the published file, or not all of it\n"
    ) in out
    assert "perturbations       4, cells of each 6 – 6 – 6" in out


def test_check_reports_what_forbids_loading(tmp_path):
    adata = MINIATURES["norman2019"]().adata
    adata.X.data[0] = 0.5
    adata.write_h5ad(tmp_path / "x.h5ad")
    (error,) = check.run_published(tmp_path / "x.h5ad", "norman2019").errors
    assert error.startswith("X holds 1 values that are not whole numbers")


def test_check_takes_published_datasets_and_their_own_columns_only(tmp_path):
    with pytest.raises(ConfigError, match=r"'h5ad' is no published dataset; known: \['adamson2016'"):
        check.run_published(tmp_path, "h5ad")
    with pytest.raises(ConfigError, match=r"norman2019 knows its own columns; leave out \['batch'\] or --dataset"):
        check.run_published(tmp_path, "norman2019", {"batch": "x"})


def test_load_asks_for_the_default_file_in_the_cache(monkeypatch, tmp_path):
    module, path = publish("norman2019", monkeypatch, tmp_path)
    asked = []
    deliver(monkeypatch, lambda file, cache: asked.append((file, cache)) or path)
    module.load(module.Params(), tmp_path / "cache")
    assert asked == [(module.info.files[0], tmp_path / "cache")]


def test_load_says_which_claim_fails_before_it_reads_a_count(monkeypatch, tmp_path):
    module, _ = publish("norman2019", monkeypatch, tmp_path)
    monkeypatch.setattr(_published._counts, "read", lambda *_: pytest.fail("counts were read"))
    monkeypatch.setattr(module, "info", replace(module.info, stored=replace(module.info.stored, genes=33694)))
    with pytest.raises(DataError, match=r"norman2019.h5ad: the file has 12 genes, and 33,694 are expected; get the"):
        module.load(module.Params(), tmp_path)


def test_load_warns_where_only_an_unverified_claim_fails(monkeypatch, tmp_path, caplog):
    module, _ = publish("replogle2022_rpe1", monkeypatch, tmp_path)
    monkeypatch.setattr(module, "info", replace(module.info, stored=replace(module.info.stored, genes=8749)))
    with caplog.at_level(logging.WARNING, logger="scident"):
        module.load(module.Params(), tmp_path)
    assert "the file has 9 genes, and 8,749 are expected; what is registered was never verified" in caplog.text


def test_a_local_part_is_read_instead_of_a_download_and_its_numbers_are_warned_of(monkeypatch, tmp_path, caplog):
    deliver(monkeypatch, lambda file, cache: pytest.fail("downloaded"))
    path = tmp_path / "part.h5ad"
    MINIATURES["norman2019"]().adata.write_h5ad(path)
    spec = {"name": "mine", "kind": "datasets", "use": "norman2019", "params": {"path": str(path)}}
    data.run(spec, 0, tmp_path / "r0.h5ad", None, tmp_path / "cache")
    assert io.read_data(tmp_path / "r0.h5ad").shape == (30, 12)
    assert "Norman 2019: the file has 30 cells, and 111,445 are expected; so it is not the published" in caplog.text


def test_a_local_part_without_controls_is_refused(tmp_path):
    adata = MINIATURES["norman2019"]().adata
    adata[adata.obs["perturbation"] != "control"].copy().write_h5ad(tmp_path / "part.h5ad")
    module = registry.load("datasets", "norman2019")
    with pytest.raises(DataError, match="no cell has the control label 'control'"):
        module.load(module.Params(path=str(tmp_path / "part.h5ad")), tmp_path)
    assert check.run_published(tmp_path / "part.h5ad", "norman2019").errors


def test_load_leaves_cells_without_counts_out(monkeypatch, tmp_path):
    adata = MINIATURES["kang2018"]().adata
    x = adata.X.toarray()
    x[[3, 7]] = 0
    adata.X = sparse.csr_matrix(x)
    found = loaded("kang2018", monkeypatch, tmp_path, adata)
    assert found.obs_names.equals(adata.obs_names.delete([3, 7]))


def test_max_per_condition_draws_the_same_cells_of_each_condition(monkeypatch, tmp_path):
    whole = loaded("norman2019", monkeypatch, tmp_path)
    found = loaded("norman2019", monkeypatch, tmp_path, max_per_condition=4)
    assert (found.obs["perturbation"].value_counts() == 4).all()
    assert found.obs_names.equals(loaded("norman2019", monkeypatch, tmp_path, max_per_condition=4).obs_names)
    np.testing.assert_array_equal(found.X.toarray(), whole[found.obs_names].X.toarray())


def test_hours_choose_the_time_of_treatment(monkeypatch, tmp_path):
    module, _ = publish("sciplex3", monkeypatch, tmp_path)
    monkeypatch.setattr(module, "info", replace(module.info, loaded=_published.Size()))
    numbers = [module.load(module.Params(hours=hours), tmp_path).n_obs for hours in (24, 72, None)]
    assert numbers == [21, 1, 22]


def test_treated_cells_of_dose_0_are_controls(monkeypatch, tmp_path):
    found = loaded("sciplex2", monkeypatch, tmp_path)
    assert found.obs["is_control"].sum() == 6 + 4


@pytest.mark.parametrize("controls", [0, 4])
def test_gwps_keeps_the_subset_and_so_many_controls(controls, monkeypatch, tmp_path):
    found = loaded("replogle2022_k562_gwps", monkeypatch, tmp_path, controls=controls)
    assert found.n_obs == 18 + controls
    assert found.obs["is_control"].sum() == controls
    assert list(found.var_names[-2:]) == ["HSPA14_ENSG00000187522", "HSPA14_ENSG00000284024"]


def test_gwps_loads_everything_if_asked(monkeypatch, tmp_path):
    found = loaded("replogle2022_k562_gwps", monkeypatch, tmp_path, subset="all")
    assert found.shape == (30, 9)
    assert set(found.obs["perturbation"]) == set(GWPS)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("replogle2022_k562_gwps", "K562_gwps_raw_singlecell_01.h5ad"),
        ("replogle2022_k562_essential", "K562_essential_raw_singlecell_01.h5ad"),
        ("replogle2022_rpe1", "rpe1_raw_singlecell_01.h5ad"),
    ],
)
def test_a_screen_is_the_same_from_the_authors_file(name, file, monkeypatch, tmp_path):
    curated = loaded(name, monkeypatch, tmp_path)
    module, path = publish(name, monkeypatch, tmp_path, by_the_authors(MINIATURES[name]().adata))
    in_the_old_way(path)
    asked = []
    deliver(monkeypatch, lambda file, cache: asked.append(file.name) or path)
    authors = module.load(module.Params(file="author"), tmp_path)
    assert asked == [file]
    assert authors.var_names.equals(curated.var_names)
    assert authors.obs.equals(curated.obs)
    np.testing.assert_array_equal(authors.X.toarray(), curated.X.toarray())


def test_gwps_lists_are_those_of_the_published_subset():
    module = registry.load("datasets", "replogle2022_k562_gwps")
    perturbations, genes = module._listed("perturbations"), module._listed("genes")
    assert (len(set(perturbations)), len(set(genes))) == (681, 1186)
    assert module.info.loaded == Size(cells=116641, genes=1187, perturbations=681)


@pytest.mark.parametrize(("cells", "genes"), [(116641, 1187), (116640, 1187), (116641, 1186)])
def test_gwps_has_the_size_of_the_published_subset_or_is_refused(cells, genes, monkeypatch, tmp_path):
    module = registry.load("datasets", "replogle2022_k562_gwps")
    monkeypatch.setattr(module, "info", replace(module.info, stored=Size()))
    deliver(monkeypatch, lambda file, cache: subset_with_others(module, cells, genes, tmp_path / "gwps.h5ad"))
    if (cells, genes) != (116641, 1187):
        with pytest.raises(DataError, match=r"what is loaded has 1\S+ (cells|genes), and 1\S+ are expected"):
            module.load(module.Params(), tmp_path)
        return
    found = module.load(module.Params(), tmp_path)
    assert found.shape == (116641, 1187)
    assert len(found.obs["perturbation"].cat.categories) == 681
    assert (found.X.toarray().sum(axis=1) == 1).all()


def subset_with_others(module, cells, genes, path):
    """Write the subset of the screen among cells and genes that are not of it, with one count to a cell."""
    labels = np.resize(module._listed("perturbations"), cells)
    symbols = ["HSPA14_ENSG00000187522", *(set(module._listed("genes")) - {"HSPA14"}), "HSPA14_ENSG00000284024"]
    symbols = [*symbols[:genes], "NOT_LISTED"]
    obs = pd.DataFrame({"perturbation": [*labels, "NOT_LISTED", "non-targeting"], "batch": 1})
    obs.index = obs.index.astype(str)
    x = sparse.csr_matrix((np.ones(len(obs)), (np.arange(len(obs)), np.arange(len(obs)) % genes)), dtype=np.float32)
    x.resize(len(obs), len(symbols))
    ad.AnnData(x, obs=obs, var=pd.DataFrame(index=symbols)).write_h5ad(path)
    return path


@pytest.mark.parametrize("name", PUBLISHED)
def test_registry_entry_is_complete_and_well_formed(name):
    info = registry.describe("datasets", name)
    assert re.fullmatch(r"10\.\d{4,}/\S+", info.doi)
    assert info.good_for
    assert info.stored.cells
    assert set(info.unverified) <= CLAIMS
    for file in info.files:
        assert file.urls
        assert all(url.startswith("https://") for url in file.urls)
        assert len(set(file.urls)) == len(file.urls)
        assert re.fullmatch(r"([0-9a-f]{32})?", file.md5)
        assert re.fullmatch(r"([0-9a-f]{64})?", file.sha256)
        assert not file.verified or file.bytes


@pytest.fixture
def listed(tmp_path):
    """Name of each dataset and what is listed of it, words separated by single spaces."""

    def read(width=100):
        entries = re.split(r"\n(?! )", plugin_table("datasets", tmp_path, width))
        return {entry.split()[0]: " ".join(entry.split()) for entry in entries}

    return read


def test_list_shows_size_licence_checksum_doubts_use_and_citation(listed):
    found = listed()
    assert found["replogle2022_k562_gwps"] == (
        "replogle2022_k562_gwps 8.8 GB or 65.8 GB CC-BY-4.0 md5 13db594f… or sha256 b697ef7f… "
        "good for held-out pathways; sVAE+ as published "
        "note: the subset has no control cells unless `controls` asks for some "
        "Replogle et al. (2022), Cell 185:2559; subset of Lopez et al. (2023), CLeaR, doi 10.1016/j.cell.2022.05.013"
    )
    assert "size unknown GEO, public no checksum published good for a few stimuli" in found["haber2017"]
    assert "unverified: cells, genes, batch, licence " in found["haber2017"]
    assert "unverified: perturbations, control, batch, size, checksum " in found["papalexi2021"]
    assert "no download" in found["h5ad"]


def test_list_shows_the_checksum_of_a_first_download(listed, tmp_path):
    file = registry.describe("datasets", "haber2017").files[0]
    (tmp_path / file.name).write_bytes(b"\x89HDF")
    record.write(tmp_path / file.name, "ab12cd34" * 8, "0" * 32)
    assert "first download ab12cd34… good for" in listed()["haber2017"]


@pytest.mark.parametrize("width", [100, 120, 160])
def test_list_fits_the_width(width, listed, tmp_path):
    lines = plugin_table("datasets", tmp_path, width).splitlines()
    assert max(map(len, lines)) <= width
    assert {line[:27].strip() for line in lines if not line.startswith(" ")} == set(registry.known("datasets"))
    assert listed(width) == listed()
