"""Random streams follow from names."""

import itertools

import numpy as np
import pytest

from scident import rng

NAMES = {"dataset": "d", "replicate": 1, "split": "s", "model": "m", "grid_point": "g", "seed": 2}


def draws(stage, **names):
    return rng.generator(stage, **names).random(4).tolist()


def test_equal_names_give_equal_streams():
    assert draws("train", **NAMES) == draws("train", **NAMES)


def test_the_order_of_names_decides_nothing():
    assert draws("train", **dict(reversed(NAMES.items()))) == draws("train", **NAMES)


def test_every_name_changes_the_stream():
    changed = [NAMES | {key: 7 if isinstance(value, int) else "other"} for key, value in NAMES.items()]
    left_out = [{k: v for k, v in NAMES.items() if k != key} for key in NAMES]
    streams = [draws("infer", **NAMES), *(draws("train", **names) for names in [NAMES, *changed, *left_out])]
    assert all(a != b for a, b in itertools.combinations(streams, 2))


def test_names_do_not_run_together():
    assert draws("train", dataset="a", split="bc") != draws("train", dataset="ab", split="c")


def test_the_stream_of_a_name_is_the_same_on_every_machine():
    # written down once: a change means that every published number moves
    assert rng.generator("data", dataset="sparse-shift", replicate=0).integers(1_000_000, size=3).tolist() == [
        756141,
        92654,
        959508,
    ]


def test_an_unknown_name_is_refused():
    with pytest.raises(TypeError):
        rng.generator("train", mudel="m")


def test_global_state_is_left_alone():
    state = np.random.get_state()[1].tolist()  # noqa: NPY002 - the global state is what is looked at
    draws("train", **NAMES)
    assert np.random.get_state()[1].tolist() == state  # noqa: NPY002 - as above
