import numpy as np

from _cells import mapped
from scident.splits import iid


def test_assign_holds_out_nothing():
    adata = mapped()
    found = iid.assign(adata, iid.Params(), np.random.default_rng(0))
    assert found.index.equals(adata.obs_names)
    assert not found.any()
