"""Our exceptions and the words they become."""

import pytest

from scident import errors


@pytest.mark.parametrize(
    ("word", "known", "says"),
    [
        ("pac", ["pca", "vae"], " Did you mean 'pca'?"),
        ("epocs", ["epochs"], " Did you mean 'epochs'?"),
        ("completely", ["pca", "vae"], ""),
        ("pca", [], ""),
    ],
)
def test_nearest_names_a_close_word_or_nothing(word, known, says):
    assert errors.nearest(word, known) == says


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (errors.NonFiniteError("latents"), "nonfinite_latents"),
        (errors.ContractError("shape: two\nlines"), "shape: two lines"),
        (MemoryError(), "oom"),
        (ValueError("two\nlines"), "exception: ValueError: two lines"),
        (KeyError("x"), "exception: KeyError: 'x'"),
    ],
)
def test_reason_of_is_one_line(error, reason):
    assert errors.reason_of(error) == reason


def test_reason_of_cuts_a_long_message():
    assert len(errors.reason_of(ValueError("x" * 1000))) < 250


def test_a_status_is_no_mistake_of_the_user():
    assert not issubclass(errors.NotApplicable, errors.ScidentError)
    assert errors.NotApplicable("no_truth").reason == "no_truth"
