"""Miniatures of published files: their columns, index names, storage, types and odd labels, with made-up counts.

Columns and storage are those that public listings show of the real files; `publish` puts one where a loader finds it.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType

import anndata as ad
import h5py
import numpy as np
import pandas as pd
from scipy import sparse

from scident import registry
from scident.info import Size

PER_LABEL = 6
SCPERTURB = {"tissue_type": "cell_line", "cell_line": "K562", "cancer": True, "organism": "human", "nperts": 1}
HSPA14 = ("ENSG00000187522", "ENSG00000284024")


@dataclass
class Miniature:
    """What a published file would hold, and what must come of it."""

    adata: ad.AnnData
    labels: set[str]
    """Clean labels, the control among them, of what is loaded."""
    cells: int
    """Cells loaded."""
    genes: int
    perturbations: int
    """Clean labels of the whole file without the control."""
    controls: int = PER_LABEL
    """Control cells loaded."""
    contexts: int = 1
    compression: str | None = None


def file(labels, columns, genes, form, *, index="cell_barcode", gene_index="gene_symbol", var=None, dtype=np.float32):
    """Make cells with the labels in turn, other columns as given (a value, or a list to repeat), and counts."""
    n = PER_LABEL * len(labels)
    rng = np.random.default_rng(len(labels))
    x = rng.poisson(0.8, (n, len(genes))).astype(dtype)
    x[:, [0, -1]] += 1  # no cell is empty, nor in the subset of a screen
    obs = {
        name: [v[i // len(labels) % len(v)] for i in range(n)] if isinstance(v, list) else v
        for name, v in columns.items()
    }
    obs = pd.DataFrame(obs, index=pd.Index([f"ACGT{i}-1" for i in range(n)], name=index))
    obs.insert(0, "perturbation", [labels[i % len(labels)] for i in range(n)])
    var = pd.DataFrame(var or {}, index=pd.Index(genes, name=gene_index))
    return ad.AnnData(form(x), obs=obs, var=var)


def counted(adata):
    """Add the columns of quality that every file of the collection has."""
    adata.obs["ncounts"] = np.asarray(adata.X.sum(axis=1)).ravel()
    adata.obs["ngenes"] = np.asarray((adata.X > 0).sum(axis=1)).ravel()
    adata.obs["percent_mito"], adata.obs["percent_ribo"] = 3.5, 20.0
    adata.var["ncounts"], adata.var["ncells"] = np.asarray(adata.X.sum(axis=0)).ravel(), 1
    return adata


def genes(n, species="ENSG"):
    return [f"G{j}" for j in range(n)], [f"{species}{j:011d}" for j in range(n)]


def replogle(labels, symbols, ids):
    """Dense; batch is the gem group; names of genes that occur twice carry their identifier."""
    columns = {
        "batch": [1, 2, 3],
        "gene": "",
        "gene_id": "ENSG0",
        "transcript": "P1P2",
        "gene_transcript": "0_A_P1P2",
        "guide_id": "a|b",
        "percent_mito": 0.1,
        "UMI_count": 9e3,
        "z_gemgroup_UMI": 0.1,
        "core_scale_factor": 1.0,
        "core_adjusted_UMI_count": 9e3,
        "disease": "chronic myeloid leukemia",
        "sex": "Female",
        "age": 53,
        **SCPERTURB,
    }
    names = [f"{s}_{i}" if symbols.count(s) > 1 else s for s, i in zip(symbols, ids, strict=True)]
    adata = file(labels, columns, names, np.asarray, gene_index="gene_name", var={"chr": "1", "ensembl_id": ids})
    adata.obs["gene"] = adata.obs["perturbation"]
    return counted(adata)


def essential():
    names, ids = genes(9)
    adata = replogle(["non-targeting", "RPL3", "POLR2A", "DBR1"], names, ids)
    return Miniature(adata, {"non-targeting", "RPL3", "POLR2A", "DBR1"}, 24, 9, 3, compression="gzip")


GWPS = ["non-targeting", "AARS", "DIS3", "ZFC3H1", "NOT_LISTED"]
LISTED = ["MT-ND6", "CIRBP", "HSPA5", "HSPA14", "HSPA14"]


def gwps():
    names, ids = genes(4)
    adata = replogle(GWPS, [*names, *LISTED], [*ids, "ENSG1", "ENSG2", "ENSG3", *HSPA14])
    return Miniature(adata, {"AARS", "DIS3", "ZFC3H1"}, 18, 5, 4, controls=0, compression="gzip")


def by_the_authors(adata):
    """A screen in the authors' own file: Ensembl identifiers index the genes, the gem group is called so, symbols
    may repeat."""
    columns = {"batch": "gem_group", "guide_id": "sgID_AB", "percent_mito": "mitopercent"}
    kept = ["gene", "gene_id", "transcript", "gene_transcript", "UMI_count", "z_gemgroup_UMI", "core_scale_factor"]
    obs = adata.obs.rename(columns=columns)[["gem_group", *kept, "sgID_AB", "mitopercent", "core_adjusted_UMI_count"]]
    symbols = [name.partition("_ENSG")[0] for name in adata.var_names]
    var = pd.DataFrame({"gene_name": symbols, "chr": "chr1"}, index=pd.Index(adata.var["ensembl_id"], name="gene_id"))
    return ad.AnnData(np.asarray(adata.X), obs=obs, var=var)


def in_the_old_way(path):
    """Rewrite obs and var of a file as AnnData 0.7 stored them, which wrote the authors' files."""
    with h5py.File(path, "a") as file:
        for name in ("X", "var", "obs"):
            group = file[name]
            if name == "X":
                group.attrs.clear()
                continue
            group.attrs["encoding-version"] = "0.1.0"
            for column, found in list(group.items()):
                if isinstance(found, h5py.Group):
                    codes, categories = found["codes"][:], found["categories"][:]
                    del group[column]
                    group[f"__categories/{column}"] = categories.astype(h5py.string_dtype())
                    group[column] = codes
                    group[column].attrs["categories"] = group[f"__categories/{column}"].ref
                else:
                    found.attrs.clear()


def norman():
    names, ids = genes(12)
    columns = {
        "guide_id": "AHR_KLF1__AHR_KLF1",
        "read_count": 9,
        "UMI_count": 3,
        "coverage": 3.0,
        "gemgroup": [1, 2],
        "good_coverage": True,
        "number_of_cells": 1,
        **SCPERTURB,
    }
    labels = ["control", "AHR", "KLF1", "AHR_KLF1", "CEBPE_RUNX1T1"]
    adata = file(labels, columns, names, sparse.csc_matrix, gene_index=None, var={"ensemble_id": ids})
    return Miniature(counted(adata), {"control", "AHR", "KLF1", "AHR+KLF1", "CEBPE+RUNX1T1"}, 30, 12, 4)


def sciplex(labels, doses, **columns):
    human, mouse = genes(7), genes(3, "ENSMUSG")
    made = file(
        labels,
        {**SCPERTURB, "perturbation_type": "drug", "dose_value": doses, **columns},
        human[0] + [f"m{name}" for name in mouse[0]],
        sparse.csr_matrix,
        index=None,
        var={"ensembl_id": human[1] + mouse[1]},
    )
    made.obs.loc[made.obs["perturbation"] == "control", "dose_value"] = np.nan
    return counted(made)


def sciplex3():
    adata = sciplex(
        ["control", "Belinostat", "(+)-JQ1", "Trametinib (GSK1120212)", None],
        [10.0, 100.0, 1000.0, 10000.0],
        well="A1",
        plate="plate1",
        replicate=["rep1", "rep2"],
        pathway_level_1="Epigenetic",
        pathway="HDAC",
        target="HDAC",
        dose_unit="nM",
        time=24.0,
        cell_line=["A549", "K562", "MCF7"],
    )
    adata.obs.loc[adata.obs_names[:2], "cell_line"] = np.nan  # one control and one Belinostat
    adata.obs.loc[adata.obs_names[8], "time"] = 72.0
    labels = {"control", "Belinostat", "(+)-JQ1", "Trametinib (GSK1120212)"}
    return Miniature(adata, labels, 30 - 6 - 2 - 1, 7, 3, controls=5, contexts=3)


def sciplex2():
    adata = sciplex(
        ["control", "BMS", "DEX", "Nutlin", "SAHA"],
        ["0", "0.1", "5", "10", "100", "500"],
        top_oligo="BMS_0.1_A1",
        well="A1",
        pval_demultiplexing=0.0,
        qval_demultiplexing=0.0,
        cell_line="A549",
    )
    return Miniature(adata, {"control", "BMS", "DEX", "Nutlin", "SAHA"}, 30, 10, 4, controls=10)


def mcfarland():
    names, ids = genes(10)
    columns = {
        "DepMap_ID": "ACH-1",
        "cell_det_rate": 0.1,
        "cell_quality": "normal",
        "channel": "1",
        "dose_unit": "µM",
        "doublet_CL1": "x",
        "hash_tag": "DMSO",
        "num_SNPs": 90,
        "percent.mito": 0.1,
        "sex": "Female",
        "singlet_ID": "LNCAPCLONEFGC_PROSTATE",
        "tot_reads": 5,
        "time": ["24"],
        "chembl-ID": "CHEMBL1",
        "dose_value": [0.1, 2.5],
        **SCPERTURB,
        "cell_line": ["LNCAPCLONEFGC", "DKMG", "RCC10RGB"],
    }
    labels = ["control", "Trametinib", "Idasanutlin", "sgGPX4_1"]
    adata = file(labels, columns, names, sparse.csc_matrix, var={"ensembl_id": ids})
    adata.obs["perturbation_type"] = np.where(adata.obs["perturbation"] == "sgGPX4_1", "CRISPR", "drug")
    adata.obs.loc[adata.obs["perturbation"].isin(["control", "sgGPX4_1"]), "dose_value"] = np.nan
    adata.obs.loc[adata.obs["perturbation"] == "sgGPX4_1", "dose_value"] = 1.0
    adata.obs.loc[adata.obs_names[5], "cell_quality"] = "doublet"
    adata.obs.loc[adata.obs_names[6], "time"] = "6"
    return Miniature(counted(adata), {"control", "Trametinib", "Idasanutlin"}, 18 - 2, 10, 3, contexts=3)


def kang():
    names, _ = genes(8)
    columns = {
        "nCount_RNA": 9.0,
        "nFeature_RNA": 5,
        "tsne1": 0.5,
        "tsne2": 0.5,
        "cluster": 5,
        "nCount_SCT": 9.0,
        "cell_type": ["CD4 T cells", "B cells"],
        "replicate": ["patient_101", "patient_1015"],
        "nFeature_SCT": 5,
        "integrated_snn_res.0.4": "1",
        "seurat_clusters": "1",
    }
    adata = file(["ctrl", "stim"], columns, names, sparse.csr_matrix, index="index", var={"name": names})
    adata.obs = adata.obs.rename(columns={"perturbation": "label"})
    adata.obs["label"] = adata.obs["label"].astype("category")
    adata.obsm["X_pca"] = np.zeros((adata.n_obs, 2), dtype=np.float32)
    return Miniature(adata, {"ctrl", "stim"}, 12, 8, 1, contexts=2)


def papalexi():
    names, ids = genes(8)
    columns = {**SCPERTURB, "hto": ["rep1-tx", "rep2-tx"], "guide_id": "STAT1g1", "cell_line": "THP-1"}
    labels = ["control", "STAT1g1", "STAT1g2", "IFNGR1g1", "NTg4"]
    adata = counted(file(labels, columns, names, sparse.csc_matrix, var={"ensembl_id": ids}))
    return Miniature(adata, {"control", "STAT1", "IFNGR1"}, 30, 8, 2, controls=12)


def adamson():
    names, ids = genes(11)
    columns = {"read count": 9.0, "UMI count": 3.0, **SCPERTURB, "celltype": "lymphoblasts"}
    labels = ["62(mod)_pBA581", "63(mod)_pBA580", "Gal4-4(mod)_pBA582", "SRP68_pDS033", "HSPA5_pDS017", "*", None]
    adata = counted(file(labels, columns, names, sparse.csc_matrix, var={"ensembl_id": ids}))
    return Miniature(adata, {"control", "SRP68", "HSPA5"}, 30, 11, 2, controls=18)


def dixit():
    names, ids = genes(9)
    columns = {"grna_lenient": "p_sgELK1_2", "target": "ELK1", "moi": "high", **SCPERTURB}
    labels = ["control", "p_INTERGENIC393453", "p_sgELK1_2", "p_sgELK1_1 + p_sgCREB1_4", "p_sgELK1_2 + p_INTERGENIC1"]
    adata = counted(file(labels, columns, names, sparse.csc_matrix, index=None, gene_index=None, var={"gene_id": ids}))
    return Miniature(adata, {"control", "ELK1", "CREB1+ELK1"}, 24, 9, 2)


def frangieh():
    names, ids = genes(10)
    columns = {
        "library_preparation_protocol": "10X",
        "perturbation_2": ["Control", "IFN-γ", "Co-culture"],
        "MOI": 1,
        "perturbation_type_2": "",
        "sgRNA": "B2M_1",
        "guide_id": "B2M_1",
        **SCPERTURB,
    }
    labels = ["control", "B2M", "JAK1", "None"]
    adata = counted(file(labels, columns, names, sparse.csc_matrix, index="cell_name", var={"ensembl_id": ids}))
    return Miniature(adata, {"control", "B2M", "JAK1"}, 18, 10, 2, contexts=3)


def haber():
    columns = {"batch": ["B1", "B2"], "barcode": "ACGT", "cell_label": ["Tuft", "Stem", "TA.Early"]}
    labels = ["Control", "Salmonella", "Hpoly.Day3", "Hpoly.Day10"]
    adata = file(labels, columns, genes(7)[0], sparse.csr_matrix, index="index", gene_index=None)
    adata.obs = adata.obs.rename(columns={"perturbation": "condition"})
    return Miniature(adata, set(labels), 24, 7, 3, contexts=3)


MINIATURES: dict[str, Callable[[], Miniature]] = {
    "adamson2016": adamson,
    "dixit2016": dixit,
    "frangieh2021": frangieh,
    "haber2017": haber,
    "kang2018": kang,
    "mcfarland2020_mixseq": mcfarland,
    "norman2019": norman,
    "papalexi2021": papalexi,
    "replogle2022_k562_essential": essential,
    "replogle2022_k562_gwps": gwps,
    "replogle2022_rpe1": essential,
    "sciplex2": sciplex2,
    "sciplex3": sciplex3,
}


def publish(name: str, monkeypatch, folder: Path, adata: ad.AnnData | None = None) -> tuple[ModuleType, Path]:
    """Put a miniature (or `adata` in its place) where a loader finds it, with the sizes of the miniature for expected.

    The registry's entry is exchanged for one of the miniature, as the internet is; the loader is the real one.
    """
    made, module = MINIATURES[name](), registry.load("datasets", name)
    path = folder / f"{name}.h5ad"
    (made.adata if adata is None else adata).write_h5ad(path, compression=made.compression)
    stored = Size(cells=made.adata.n_obs, genes=made.adata.n_vars, perturbations=made.perturbations)
    loaded = Size(cells=made.cells, genes=made.genes, perturbations=len(made.labels | CONTROLS) - len(CONTROLS))
    monkeypatch.setattr(module, "info", replace(module.info, stored=stored, loaded=loaded))
    deliver(monkeypatch, lambda file, cache: path)
    return module, path


CONTROLS = {"control", "ctrl", "Control", "non-targeting"}


def deliver(monkeypatch, fetch) -> None:
    """Let `fetch` (File, cache) -> path stand for the internet."""
    monkeypatch.setattr("scident.download.fetch", fetch)
