"""Where each member stands, on disk: finished members are not trained again, interrupted ones go on where they were."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from scident.engine.progress import Progress
from scident.engine.stack import MemberState
from scident.io import atomic

log = logging.getLogger(__name__)

KEPT = ("epoch", "best", "waited", "moments", "history", "failure", "done")
"""Fields of `Progress` that a file holds beside the state."""


@dataclass(frozen=True)
class Store:
    """One file per member, named by a digest of everything its result depends on; no folder: nothing is kept."""

    folder: Path | None
    keys: Sequence[str]
    """One per member, in the trainer's order."""

    def _path(self, position: int) -> Path | None:
        return None if self.folder is None or not self.keys[position] else self.folder / f"{self.keys[position]}.pt"

    def restore(self, position: int, member: Progress) -> None:
        """Bring a member to where its file left it, if there is one that can be read."""
        path = self._path(position)
        if path is None or not path.is_file():
            return
        try:
            found = torch.load(path, weights_only=True)
            state, kept = MemberState(**found["state"]), {name: found[name] for name in KEPT}
        except Exception:  # a broken file can fail in any way, and training anew is always right
            log.warning("checkpoint %s cannot be read: the member starts anew", path, exc_info=True)
            return
        member.state = state
        for name, value in kept.items():
            setattr(member, name, value)

    def save(self, positions: Sequence[int], members: Sequence[Progress]) -> None:
        """Write the files of some members."""
        for position, member in zip(positions, members, strict=True):
            path = self._path(position)
            if path is None:
                continue
            state = member.state
            content = {
                "state": {"parameters": state.parameters, "buffers": state.buffers, "hyper": state.hyper},
                **{name: getattr(member, name) for name in KEPT},
            }
            with atomic(path) as temporary:
                torch.save(content, temporary)
