"""Every way a file can differ from the published one gives one sentence and leaves nothing behind."""

from dataclasses import replace
from functools import partial

import h5py
import numpy as np
import pytest
from scipy import sparse

from _miniatures import MINIATURES, deliver, publish
from _server import good, serving
from scident import registry
from scident.download import Patience, fetch
from scident.errors import ConfigError, DataError
from scident.info import File, Size
from scident.stages import data

WRONG = {}
DAMAGED = {}


def wrong(name, *says):
    """Register what is done to the AnnData of a dataset before it is written, and what must be said."""

    def register(function):
        WRONG[function.__name__] = (name, function, says)
        return function

    return register


def damaged(name, *says):
    """Register what is done to the written file (function of its path)."""

    def register(function):
        DAMAGED[function.__name__] = (name, function, says)
        return function

    return register


@wrong("norman2019", "the file has 29 cells, and 30 are expected; get the published file of Norman 2019 (10.1126/")
def a_cell_too_few(adata):
    return adata[1:].copy()


@wrong("norman2019", "the file has 11 genes, and 12 are expected")
def a_gene_too_few(adata):
    return adata[:, 1:].copy()


@wrong("norman2019", "the file has 5 perturbations, and 4 are expected")
def a_perturbation_too_many(adata):
    adata.obs.iloc[1, 0] = "MAPK1"
    return adata


@wrong("replogle2022_k562_essential", "the file has 2 perturbations, and 3 are expected")
def a_perturbation_too_few(adata):
    adata.obs = adata.obs.replace({"perturbation": {"DBR1": "RPL3"}})
    return adata


@wrong("norman2019", "obs has no column 'perturbation' for the perturbation", "found ['guide_id', ")
def no_perturbations(adata):
    del adata.obs["perturbation"]
    return adata


@wrong("replogle2022_k562_gwps", "obs has no column 'perturbation' or 'gene' for the perturbation")
def no_perturbations_under_either_name(adata):
    adata.obs = adata.obs.drop(columns=["perturbation", "gene"])
    return adata


@wrong("kang2018", "obs has no column 'cell_type' for the context")
def no_contexts(adata):
    del adata.obs["cell_type"]
    return adata


@wrong("sciplex3", "obs has no column 'dose_value' for the dose")
def no_doses(adata):
    del adata.obs["dose_value"]
    return adata


@wrong("norman2019", "obs has no column 'gemgroup' for the batch")
def no_batches(adata):
    del adata.obs["gemgroup"]
    return adata


@wrong("norman2019", "no cell has the control label 'control', found 5 labels ('AHR', 'AHR+KLF1'")
def another_control_label(adata):
    adata.obs = adata.obs.replace({"perturbation": {"control": "ctrl"}})
    return adata


@wrong("kang2018", "cells have the single label 'stim', and there is nothing to compare")
def a_single_label(adata):
    adata.obs["label"] = "stim"
    return adata


@wrong("norman2019", "cells have no label, and there is nothing to compare")
def no_labels(adata):
    adata.obs["perturbation"] = "None"
    return adata


@wrong("replogle2022_k562_essential", "X holds", "not whole numbers", "not the published file of raw counts")
def logarithms_dense(adata):
    adata.X = np.log1p(adata.X)
    return adata


@wrong("norman2019", "X holds", "not whole numbers", "not the published file of raw counts")
def logarithms_by_genes(adata):
    adata.X = adata.X.log1p()
    return adata


@wrong("sciplex3", "X holds", "not whole numbers", "not the published file of raw counts")
def logarithms_by_cells(adata):
    adata.X = adata.X.log1p()
    return adata


@wrong("kang2018", "X holds 1 NaN or infinite values")
def a_gap(adata):
    adata.X.data[3] = np.nan
    return adata


@wrong("frangieh2021", "X holds 1 NaN or infinite values")
def infinity(adata):
    adata.X.data[0] = np.inf  # of a labelled cell
    return adata


@wrong("replogle2022_rpe1", "X holds 1 negative values")
def a_negative_count(adata):
    adata.X[0, 3] = -1
    return adata


@wrong("haber2017", "X holds values of type bool, not numbers")
def truth_values_for_counts(adata):
    adata.X = adata.X > 0
    return adata


@wrong("norman2019", "obs_names repeats 1 cell names (first: 'ACGT0-1')")
def a_repeated_cell(adata):
    adata.obs_names = ["ACGT0-1", "ACGT0-1", *adata.obs_names[2:]]
    return adata


@wrong("kang2018", "var_names repeats 1 gene names (first: 'G0')")
def a_repeated_gene_without_identifier(adata):
    adata.var_names = ["G0", "G0", *adata.var_names[2:]]
    return adata


@wrong("sciplex3", "obs['dose_value'] holds the dose -10000, and none can be below 0")
def a_negative_dose(adata):
    adata.obs["dose_value"] = -adata.obs["dose_value"]
    return adata


@wrong("sciplex3", "obs['dose_value'] holds no number for any treated cell, but 'high'")
def doses_in_words(adata):
    adata.obs["dose_value"] = "high"
    return adata


@wrong("sciplex3", "obs has no column 'time'", "set `hours` to null")
def no_times(adata):
    del adata.obs["time"]
    return adata


@wrong("sciplex3", "nothing is left to load", "0 of 10 genes")
def genes_of_mice_only(adata):
    adata.var["ensembl_id"] = adata.var["ensembl_id"].str.replace("ENSG", "ENSMUSG")
    return adata


@wrong("mcfarland2020_mixseq", "obs lacks ['cell_quality']")
def no_quality(adata):
    del adata.obs["cell_quality"]
    return adata


@wrong("replogle2022_k562_gwps", "what is loaded has 12 cells, and 18 are expected")
def a_listed_perturbation_under_another_name(adata):
    adata.obs = adata.obs.replace({"perturbation": {"DIS3": "C13orf1"}})
    return adata


@wrong("replogle2022_k562_gwps", "what is loaded has 4 genes, and 5 are expected")
def a_listed_gene_under_another_name(adata):
    adata.var_names = [name if name != "CIRBP" else "A18HNRNP" for name in adata.var_names]
    return adata


@damaged("norman2019", "gives something that does not begin like a .h5ad file")
def text(path):
    path.write_text("perturbation,g1\na,3\n")


@damaged("kang2018", "gives a web page instead of the file")
def a_web_page(path):
    path.write_text("<!DOCTYPE html><html><body>Please verify that you are human</body></html>")


@damaged("kang2018", "gives an empty page instead of the file")
def nothing(path):
    path.write_bytes(b"")


@damaged("sciplex3", "not a readable h5ad file")
def half_of_it(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@damaged("norman2019", "HDF5 without ['X'], so not AnnData with counts")
def no_matrix(path):
    with h5py.File(path, "a") as file:
        del file["X"]


@damaged("norman2019", "X is stored as 'coo_matrix'; known: a dense array, csr_matrix, csc_matrix")
def unknown_storage(path):
    with h5py.File(path, "a") as file:
        file["X"].attrs["encoding-type"] = "coo_matrix"


@damaged("norman2019", "the sparse X is damaged: 12 pointers")
def a_pointer_too_few(path):
    with h5py.File(path, "a") as file:
        pointers = file["X/indptr"][:-1]
        del file["X/indptr"]
        file["X/indptr"] = pointers


@damaged("sciplex3", "the sparse X is damaged", "values and")
def a_value_too_few(path):
    with h5py.File(path, "a") as file:
        values = file["X/data"][:-1]
        del file["X/data"]
        file["X/data"] = values


@damaged("norman2019", "an index of X is negative or beyond its 30 cells")
def a_cell_that_is_none(path):
    with h5py.File(path, "a") as file:
        file["X/indices"][2] = -1


@damaged("sciplex3", "an index of X is negative or beyond its 10 genes")
def a_gene_beyond_the_last(path):
    with h5py.File(path, "a") as file:
        file["X/indices"][0] = 10


@damaged("norman2019", "X is 31 × 12, but obs has 30 rows and var 12")
def a_matrix_of_other_size(path):
    with h5py.File(path, "a") as file:
        file["X"].attrs["shape"] = [31, 12]


@damaged("kang2018", "obs is not a table but ndarray")
def no_table_of_cells(path):
    with h5py.File(path, "a") as file:
        del file["obs"]
        file["obs"] = np.zeros(3)
        file["obs"].attrs["encoding-type"], file["obs"].attrs["encoding-version"] = "array", "0.2.0"


def refused(name, module, path, monkeypatch, tmp_path):
    """Let the data stage download a file that nobody knows the hash of, and return its one sentence."""
    deliver(monkeypatch, partial(fetch, patience=Patience(rounds=1, sleep=lambda seconds: None)))
    monkeypatch.setenv("NO_PROXY", "*")
    with serving(file=good(path.read_bytes())) as server:
        monkeypatch.setattr(module, "info", replace(module.info, files=(File(path.name, (server.url("file"),)),)))
        spec = {"name": "mine", "kind": "datasets", "use": name, "params": {}}
        with pytest.raises((ConfigError, DataError)) as caught:
            data.run(spec, 0, tmp_path / "results" / "r0.h5ad", None, tmp_path / "cache")
    assert not (tmp_path / "results").exists()
    message = str(caught.value)
    assert "\n" not in message
    assert path.name in message
    return message


def kept(tmp_path):
    """What the cache holds under a name of its own."""
    return [path.name for path in (tmp_path / "cache").glob("[!.]*")]


@pytest.mark.parametrize("fault", sorted(WRONG))
def test_another_file_gives_one_sentence_and_no_output_and_leaves_the_cache(fault, monkeypatch, tmp_path):
    name, spoil, says = WRONG[fault]
    module, path = publish(name, monkeypatch, tmp_path, spoil(MINIATURES[name]().adata))
    message = refused(name, module, path, monkeypatch, tmp_path)
    for words in says:
        assert words in message
    assert kept(tmp_path) == []


@pytest.mark.parametrize("fault", sorted(DAMAGED))
def test_a_damaged_file_gives_one_sentence_and_no_output_and_leaves_the_cache(fault, monkeypatch, tmp_path):
    name, spoil, says = DAMAGED[fault]
    module, path = publish(name, monkeypatch, tmp_path)
    spoil(path)
    message = refused(name, module, path, monkeypatch, tmp_path)
    for words in says:
        assert words in message
    assert kept(tmp_path) == []


def test_a_sound_file_stays_where_it_is_asked_for_what_it_has_not(monkeypatch, tmp_path):
    adata = MINIATURES["sciplex3"]().adata
    adata.obs["time"] = 72.0
    module, path = publish("sciplex3", monkeypatch, tmp_path, adata)
    message = refused("sciplex3", module, path, monkeypatch, tmp_path)
    assert message.endswith("obs['time'] has no cell at 24 hours, found 72; set `hours` to one of them")
    assert sorted(kept(tmp_path)) == ["sciplex3.h5ad", "sciplex3.h5ad.record.json"]


def test_a_file_of_the_published_hash_stays_though_the_registry_says_other_things_of_it(monkeypatch, tmp_path):
    module, path = publish("norman2019", monkeypatch, tmp_path)
    monkeypatch.setattr(module, "info", replace(module.info, stored=Size(cells=31)))
    place = path.rename(tmp_path / module.info.files[0].name)
    deliver(monkeypatch, lambda file, cache: place)
    with pytest.raises(DataError, match="the file has 30 cells, and 31 are expected; get the published file"):
        module.load(module.Params(), tmp_path)
    assert place.exists()


@pytest.mark.parametrize(
    ("content", "says"),
    [(b"a,b\n", "not a readable h5ad"), (b"<html>", "not a readable"), (b"", "not a readable"), (None, "no such file")],
)
def test_a_local_file_that_is_none_gives_one_sentence(content, says, tmp_path):
    path = tmp_path / "part.h5ad"
    if content is not None:
        path.write_bytes(content)
    module = registry.load("datasets", "norman2019")
    with pytest.raises(DataError, match=f"part.h5ad: {says}"):
        module.load(module.Params(path=str(path)), tmp_path)


def test_counts_of_cells_that_are_left_out_are_not_judged(monkeypatch, tmp_path):
    adata = MINIATURES["frangieh2021"]().adata
    x = sparse.lil_matrix(adata.X)
    x[3, 0] = 0.5  # of a cell labelled None
    adata.X = sparse.csc_matrix(x)
    module, _ = publish("frangieh2021", monkeypatch, tmp_path, adata)
    assert module.load(module.Params(), tmp_path).n_obs == 18
