"""Controls that are given the truth."""

import anndata as ad
import numpy as np

from scident.errors import ScidentError
from scident.models.base import Model
from scident.types import Targets


class Oracle(Model):
    """A positive control: learns nothing but which perturbations were trained on, and the seed's entropy."""

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Keep the codes of training perturbations and some entropy."""
        trained = np.unique(train.obs["perturbation"].cat.codes.to_numpy())
        self.state = {"trained": trained, "entropy": rng.integers(2**31, size=4)}

    @property
    def known(self) -> ad.AnnData:
        """The truth of the cells at hand."""
        if self.truth is None:
            raise ScidentError(f"{type(self).__name__} needs the truth file and was given none")
        return self.truth

    def targets(self) -> Targets | None:
        """Return the true targets, scored by the size of the shift."""
        shift = np.asarray(self.known.uns["shift"], dtype=np.float64)
        return Targets(np.abs(shift), np.asarray(self.known.uns["targets"], dtype=bool), "truth")
