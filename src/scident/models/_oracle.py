"""Controls that are given the truth."""

import anndata as ad
import numpy as np

from scident.errors import ScidentError
from scident.models.base import Model
from scident.types import Factors, Targets


class Oracle(Model):
    """A positive control: learns nothing but which conditions were trained on, and the seed's entropy."""

    def fit(self, train: ad.AnnData, val: ad.AnnData, rng: np.random.Generator) -> None:
        """Keep the codes of training perturbations, of their pairs with contexts, and some entropy."""
        codes = [train.obs[name].astype("category").cat.codes.to_numpy() for name in ("perturbation", "context")]
        pairs = np.unique(np.stack(codes, axis=1).astype(np.int64), axis=0)
        self.state = {"trained": np.unique(pairs[:, 0]), "pairs": pairs, "entropy": rng.integers(2**31, size=4)}

    @property
    def known(self) -> ad.AnnData:
        """The truth of the cells at hand."""
        if self.truth is None:
            raise ScidentError(f"{type(self).__name__} needs the truth file and was given none")
        return self.truth

    @property
    def z_true(self) -> Factors:
        """The true latents of the cells at hand."""
        return np.asarray(self.known.obsm["z_true"], dtype=np.float64)

    def targets(self) -> Targets | None:
        """Return the true targets, scored by the size of the shift, if the truth has any."""
        truth = self.known.uns
        if "shift" not in truth:
            return None
        shift = np.asarray(truth["shift"], dtype=np.float64)
        return Targets(np.abs(shift), np.asarray(truth["targets"], dtype=bool), "truth")

    def blocks(self) -> tuple[str, ...] | None:
        """Return the true blocks, if the truth has any."""
        truth = self.known.uns
        return tuple(str(name) for name in truth["blocks"]) if "blocks" in truth else None
