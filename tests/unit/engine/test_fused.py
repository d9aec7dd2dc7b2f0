"""The loops of single precision against the formulas in double precision, and scipy's."""

import numpy as np
import pytest
import torch
from scipy import special

from scident.engine import elementary, fused, kernels, likelihoods, native
from scident.engine.likelihoods import constant_part, negative_log_likelihood, training_loss, varying_part

SHAPES = [(1, 1, 1), (2, 7, 5), (1, 31, 8), (2, 32, 129), (1, 100, 300)]
"""Members, genes, cells: below, at and beyond a block of genes, of cells, and of a vector unit."""


def inputs(shape, log_dispersion=0.0, spread=1.0):
    """Return counts, logits, log library and log dispersions that single precision holds, in double."""
    g = torch.Generator().manual_seed(0)
    members, genes, cells = shape
    logits = spread * torch.randn(shape, generator=g)
    library = torch.full((members, 1, cells), 60.0)
    r = torch.randn(members, genes, 1, generator=g) + log_dispersion
    mean = torch.softmax(logits, 1) * library
    counts = torch.poisson(mean * torch.empty_like(mean).exponential_(generator=g), generator=g)
    return [v.double() for v in (counts, logits, library.log(), r)]


def single(values):
    return [v.float() for v in values]


def gradients(values):
    counts, logits, log_library, r = values
    leaves = [logits.clone().requires_grad_(), r.clone().requires_grad_()]
    weights = torch.linspace(0.5, 2, counts.shape[0] * counts.shape[2], dtype=counts.dtype).view(counts.shape[0], -1)
    return torch.autograd.grad((weights * training_loss(counts, leaves[0], log_library, leaves[1])).sum(), leaves)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("log_dispersion", [-6.0, 0.0, 10.0])
def test_the_gradient_is_that_of_the_formulas(shape, log_dispersion):
    values = inputs(shape, log_dispersion)
    (logits, r), (exact_logits, exact_r) = gradients(single(values)), gradients(values)
    torch.testing.assert_close(logits.double(), exact_logits, rtol=1e-6, atol=1e-5)
    # a cell adds a difference of numbers of which the largest is some tens
    torch.testing.assert_close(r.double(), exact_r, rtol=2e-6, atol=32 * 2**-24 * shape[2] + 1e-5)


def assert_close(found, exact, of):
    """Compare sums that differ by at most 16 rounding errors of `of`, the size of what was added up."""
    assert float((found.double() - exact).abs().max()) <= 16 * 2**-24 * float(of.abs().max())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("log_dispersion", [-6.0, 0.0, 10.0])
@torch.no_grad()
def test_the_density_is_that_of_the_formulas(shape, log_dispersion):
    values = inputs(shape, log_dispersion)
    loss, varying = training_loss(*values), varying_part(*values)
    assert_close(training_loss(*single(values)), loss, of=loss)
    assert_close(varying_part(*single(values)), varying, of=loss + values[0].sum(1) * values[2][:, 0])
    found = negative_log_likelihood(*single(values))
    assert found.dtype == torch.float32
    assert_close(found, negative_log_likelihood(*values), of=loss + values[0].sum(1) * values[2][:, 0])


@torch.no_grad()
def test_sums_over_many_genes_keep_their_digits():
    values = inputs((1, 8000, 3), 2.0)
    for part in (varying_part, training_loss):
        torch.testing.assert_close(part(*single(values)).double(), part(*values), rtol=1e-6, atol=0)


@torch.no_grad()
def test_shares_that_differ_by_more_than_single_precision_holds():
    values = inputs((1, 100, 20), spread=60.0)
    found, exact = varying_part(*single(values)), varying_part(*values)
    assert_close(found, exact, of=exact)
    with torch.enable_grad():
        some, exact = gradients(single(values)), gradients(values)
    for mine, theirs in zip(some, exact, strict=True):
        torch.testing.assert_close(mine.double(), theirs, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("log_dispersion", [-6.0, 0.0, 6.0, 12.0])
@torch.no_grad()
def test_the_constant_part_is_scipys(log_dispersion):
    """Counts that are looked up, that are not, and that are no integers; each by itself."""
    x = np.array([0, 1, 2, 3, 7, 30, kernels.TABLE - 1, kernels.TABLE, 5_000, 1_000_000, 0.5, 2.25], dtype=np.float32)
    r = torch.full((1, len(x), 1), log_dispersion)
    t = np.exp(log_dispersion)
    wide = x.astype(np.float64)
    expected = special.gammaln(wide + t) - special.gammaln(t) - wide * log_dispersion - special.gammaln(wide + 1)
    each = [constant_part(torch.tensor(x[i]).view(1, 1, 1), r[:, [i]]).item() for i in range(len(x))]
    # at t = e^12 lnΓ itself has but nine digits behind the point
    np.testing.assert_allclose(each, expected, rtol=1e-10, atol=1e-8)
    together = constant_part(torch.from_numpy(x).view(1, -1, 1).expand(1, -1, 2), r)
    np.testing.assert_allclose(together, np.full((1, 2), sum(each)), rtol=1e-12)


@pytest.mark.parametrize("x", [1e-30, 1e-6, 1e-3, 0.3, 0.42, 1.0, 30.0, 1e9, 1e30])
def test_log1p_is_numpys(x):
    assert elementary.log1p(np.float32(x)) == pytest.approx(np.log1p(np.float64(np.float32(x))), rel=2e-7)
    if x < 1:
        assert elementary.log1p(np.float32(-x)) == pytest.approx(np.log1p(-np.float64(np.float32(x))), rel=2e-7)


@pytest.mark.parametrize("x", [0.0, 1e-6, -0.3, 0.34, 0.35, 1.0, -20.0, 60.0, -80.0, 87.0])
def test_exp_is_numpys(x):
    assert elementary.exp(np.float32(x)) == pytest.approx(np.exp(np.float64(np.float32(x))), rel=2e-7)


def test_exp_ends_where_single_precision_does():
    assert elementary.exp(np.float32(200)) == elementary.exp(elementary.HIGHEST)
    assert elementary.exp(np.float32(-200)) == elementary.exp(elementary.LOWEST)


@pytest.mark.parametrize("x", [1e-6, 0.1, 0.3, 1.0, 2.3, 5.0, 30.0, 400.0, 1e5])
def test_digamma_less_log_is_scipys(x):
    x = float(np.float32(x))
    expected = special.digamma(x) - np.log(x + elementary.START)
    assert elementary.digamma_less_log(np.float32(x)) == pytest.approx(expected, rel=4e-7, abs=6e-8)


@pytest.mark.parametrize("where", range(4))
@torch.no_grad()
def test_what_is_not_a_number_is_not_hidden(where):
    values = single(inputs((1, 40, 9)))
    values[where].view(-1)[-1] = float("nan")
    if where < 2:
        assert torch.isnan(training_loss(*values)[0, -1])
    assert torch.isnan(negative_log_likelihood(*values)[0, -1])
    with torch.enable_grad():
        assert any(torch.isnan(one).any() for one in gradients(values))


def test_operators_tell_a_graph_what_they_return():
    values = [v.contiguous() for v in single(inputs((2, 40, 9)))]
    counts, logits, log_library, r = values
    kept = fused.forward(counts, logits)[1:]
    for name, given in (
        ("nb_forward", (counts, logits)),
        ("nb_backward", (counts, *kept, log_library, r, torch.ones(2, 9))),
        ("nb_varying", (counts, logits, log_library, r)),
        ("nb_constant", (counts, r)),
    ):
        torch.library.opcheck(getattr(torch.ops.scident, name).default, given)


def test_other_devices_and_precisions_take_the_formulas(monkeypatch):
    monkeypatch.setattr(likelihoods, "fused", type("nothing", (), {"fits": fused.fits}))
    gradients(inputs((1, 3, 4)))
    with pytest.raises(AttributeError):
        gradients(single(inputs((1, 3, 4))))


def test_one_library_may_serve_all_members():
    counts, logits, log_library, r = single(inputs((2, 40, 9)))
    assert fused.fits(counts, r, logits, log_library)
    assert not fused.fits(counts, r, logits, log_library[:1])  # the loops would read what lies behind it
    one, other = (gradients([counts, logits, library, r]) for library in (log_library[:1], log_library))
    for mine, theirs in zip(one, other, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-5, atol=1e-4)


def test_code_is_compiled_anew_where_it_cannot_be_kept(monkeypatch):
    import numba.core.caching

    monkeypatch.setattr(numba.core.caching.CacheImpl, "_locator_classes", [])
    assert native.loop(_twice)(21) == 42


def test_code_of_other_sources_is_not_taken(monkeypatch):
    names = []
    for digest in ("one", "other"):
        monkeypatch.setattr(native, "_sources", lambda digest=digest: digest)
        names.append(native.loop(lambda x: x)._cache._impl.filename_base)
    assert names[0] != names[1]


def _twice(x):
    return 2 * x
