"""Files of real datasets, from the internet into a cache: the right bytes under the right name, or one sentence."""

from scident.download.fetching import fetch, reject
from scident.download.patience import Patience
from scident.download.record import checksum

__all__ = ["Patience", "checksum", "fetch", "reject"]
