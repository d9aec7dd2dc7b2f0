"""scident: does a single-cell perturbation model recover the causal factors?"""

__version__ = "0.1.0"
