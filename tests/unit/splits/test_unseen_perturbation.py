import numpy as np
import pytest

from _cells import mapped
from scident.errors import ConfigError
from scident.splits._pathways import PATHWAYS
from scident.splits.unseen_perturbation import Params, assign


def held_out(adata, **params):
    found = assign(adata, Params(**params), np.random.default_rng(0))
    return sorted(adata.obs.loc[found, "perturbation"].astype(str).unique())


def test_assign_holds_out_the_last_labels():
    assert held_out(mapped(labels=("a", "b", "c", "d", "e")), last_n=2) == ["d", "e"]


def test_assign_never_holds_out_controls():
    assert held_out(mapped(labels=("a", "b", "c", "control")), last_n=1) == ["c"]


def test_assign_holds_out_the_named_labels():
    assert held_out(mapped(labels=("a", "b", "c", "d")), held_out=["b", "a"]) == ["a", "b"]


def test_assign_holds_out_every_cell_of_a_label():
    adata = mapped(labels=("a", "b", "c"), per_label=7)
    assert assign(adata, Params(held_out=["b"]), np.random.default_rng(0)).sum() == 7


@pytest.mark.parametrize(
    ("params", "says"),
    [
        (
            {"held_out": ["pertb"]},
            "no such perturbation; found 4: perta, pertb1, pertc, pertd.* Did you mean 'pertb1'?",
        ),
        ({"held_out": ["control"]}, "names the control label 'control'"),
        ({"last_n": 3}, "last_n holds out 3 of 4 perturbations and leaves 1 to train on; hold out at most 2"),
        ({"held_out": ["perta", "pertc", "pertd"]}, "held_out holds out 3 of 4"),
    ],
)
def test_assign_refuses_what_cannot_be(params, says):
    with pytest.raises(ConfigError, match=says):
        held_out(mapped(labels=("perta", "pertb1", "pertc", "pertd", "control")), **params)


@pytest.mark.parametrize(("pathway", "genes"), PATHWAYS.items())
def test_a_pathway_is_held_out_as_a_whole_and_nothing_else(pathway, genes):
    labels = ("control", "GAPDH", "ACTB", *(gene for own in PATHWAYS.values() for gene in own))
    assert held_out(mapped(labels=labels, per_label=1), pathway=pathway) == sorted(genes)


def test_the_eight_pathways_have_the_published_sizes_and_share_no_gene():
    sizes = {name: len(genes) for name, genes in PATHWAYS.items()}
    assert list(sizes.values()) == [20, 34, 26, 23, 97, 43, 53, 40]
    assert len({gene for genes in PATHWAYS.values() for gene in genes}) == 336


def test_of_a_pathway_only_the_genes_that_the_data_perturb_are_held_out():
    assert held_out(mapped(labels=("a", "b", "MED1", "MED12", "LSM5")), pathway="MEDIATOR_COMPLEX") == ["MED1", "MED12"]


def test_the_strongest_perturbations_are_held_out_whatever_the_seed():
    adata = mapped(labels=("a", "b", "c", "d", "control"), per_label=40)
    for name, factor in (("b", 4), ("c", 3), ("d", 2)):
        adata.X[(adata.obs["perturbation"] == name).to_numpy(), :3] *= factor
    assert held_out(adata, strongest=1) == ["b"]
    assert held_out(adata, strongest=2) == ["b", "c"]
    found = [assign(adata, Params(strongest=2), np.random.default_rng(seed)) for seed in (0, 1)]
    assert found[0].equals(found[1])


@pytest.mark.parametrize(
    ("params", "says"),
    [
        ({"pathway": "EXOSOME"}, "perturb none of the 20 genes of pathway EXOSOME; found 3: a, b, c"),
        ({"strongest": 2}, "strongest holds out 2 of 3 perturbations and leaves 1 to train on; hold out at most 1"),
        ({"strongest": 5}, "strongest holds out 3 of 3 perturbations and leaves 0"),
    ],
)
def test_rules_that_the_data_do_not_allow_are_refused(params, says):
    with pytest.raises(ConfigError, match=says):
        held_out(mapped(labels=("a", "b", "c", "control")), **params)


def test_effects_need_control_cells():
    with pytest.raises(ConfigError, match="strongest asks for 1 perturbations, but only 0 have two cells in a context"):
        held_out(mapped(labels=("a", "b", "c")), strongest=1)


def test_two_rules_exclude_each_other():
    with pytest.raises(ValueError, match="pathway and strongest are rules that exclude each other"):
        Params(pathway="EXOSOME", strongest=3)
