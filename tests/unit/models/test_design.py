import numpy as np
import pytest

from _tiny import world
from scident import io
from scident.errors import ConfigError, ScidentError
from scident.models._design import Design, block_names, context_codes, design_of, recalled, remembered


def cells(contexts=("b", "a"), control=0):
    place = world().train
    place.obs["context"] = np.array(contexts)[np.arange(place.n_obs) % len(contexts)]
    place.obs["is_control"] = place.obs["perturbation"].cat.codes.to_numpy() == control
    return place


@pytest.mark.parametrize(
    ("n", "sizes", "expected"),
    [
        (10, None, (3, 4, 3)),
        (48, None, (16, 16, 16)),
        (3, None, (1, 1, 1)),
        (5, None, (1, 3, 1)),
        (7, (1, 6, 0), (1, 6, 0)),
    ],
)
def test_blocks_are_thirds_unless_said_otherwise(n, sizes, expected):
    names = block_names(sizes, n)
    assert tuple(names.count(block) for block in ("x", "tx", "t")) == expected
    assert list(names) == sorted(names, key=("x", "tx", "t").index)


def test_sizes_that_do_not_add_up_are_refused():
    with pytest.raises(ConfigError, match="9"):
        block_names((3, 3, 3), 10)


def test_a_design_says_what_the_training_cells_are():
    found = design_of(cells(), 4, block_names(None, 4))
    parts = ((), *((number,) for number in range(5)))
    assert found == Design(20, 4, 6, ("a", "b"), "counts", 0, ("x", "tx", "tx", "t"), parts)
    assert found.n_parts == 5
    assert (found.n_contexts, found.sizes) == (2, (1, 2, 1))
    assert design_of(cells(control=-1), 4).control is None


@pytest.mark.parametrize("control", [-1, 0, 2])
def test_a_state_remembers_the_design_beside_any_cells(control):
    design = design_of(cells(("naïve T", "a, b"), control), 3)
    few = io.subset(cells(), np.arange(5))
    state = {name: np.array(value) for name, value in remembered(design).items()}
    assert recalled(state, few, 3, None) == design
    assert all(np.issubdtype(value.dtype, np.number) for value in state.values())


def test_a_combination_has_the_numbers_of_its_parts():
    place = cells()
    place.obs["perturbation"] = place.obs["perturbation"].cat.rename_categories(["0", "b", "a+b", "a+c", "c", "d"])
    assert design_of(place, 3).parts == ((), (1,), (0, 1), (0, 2), (2,), (3,))
    assert design_of(cells(control=-1), 3).n_parts == 6


def test_contexts_are_coded_by_name_and_unknown_ones_refused():
    place = cells(("b", "a", "c"))
    np.testing.assert_array_equal(context_codes(place, ("a", "b", "c"))[:4], [1, 0, 2, 1])
    with pytest.raises(ScidentError, match=r"\['c'\]"):
        context_codes(place, ("a", "b"))
