"""Parameters that a configuration's entries set: the base of every plug-in's, and how real data are prepared."""

from pydantic import BaseModel, ConfigDict, Field


class PluginParams(BaseModel):
    """Parameters of one plug-in: defaults, units and prose live in its fields; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, protected_namespaces=())


class Preparation(PluginParams):
    """Which cells and genes of a real dataset are used; nothing given: all.

    A cell is judged by its own counts, genes by training cells alone.
    """

    min_counts: int = Field(0, ge=0, description="Cells with fewer counts are left aside.")
    min_genes: int = Field(0, ge=0, description="Cells with fewer genes are left aside; a gene counts from one count.")
    max_mito: float | None = Field(
        None, ge=0, le=1, description="Largest share of counts in mitochondrial genes (MT-…) of a cell; null: any."
    )
    min_cells: int = Field(0, ge=0, description="Genes counted in fewer training cells are left out.")
    top_genes: int | None = Field(
        None, ge=2, description="How many of the most variable genes are kept; null: all that are left."
    )

    @property
    def of_genes(self) -> bool:
        """Whether genes are chosen."""
        return self.min_cells > 0 or self.top_genes is not None
