"""Training: one member eager and compiled, many members in single precision and with bfloat16 products."""

import torch

from bench.problem import loop, unit
from bench.table import Row
from bench.timing import ratio
from scident.engine.trainer import fast_bfloat16

MANY = 16


def rows() -> list[Row]:
    """Measure against the unit, one thread."""
    return [
        _row("one member, eager", 0.22, 0.30),
        _row("one member, compiled", 0.38, 0.50, compiled=True),
        _row(f"{MANY} members, compiled, per member", 0.50, 0.75, MANY, compiled=True),
        _bfloat16(),
    ]


def _row(what: str, must: float, aim: float, members: int = 1, repeats: int = 7, **schedule: object) -> Row:
    running = loop(members, **schedule)
    share, seconds = ratio(running.epoch, unit, repeats)
    note = f"{seconds / members:.3f} s an epoch"
    return Row(
        what, "unit's speed", f"{share * members:.0%}", f"≥ {must:.0%}", f"{aim:.0%}", share * members >= must, note
    )


def _bfloat16() -> Row:
    what = f"{MANY} members, compiled, bfloat16 products, per member"
    if fast_bfloat16(torch.device("cpu")):
        return _row(what, 0.75, 1.10, MANY, compiled=True, products=torch.bfloat16)
    speed = ratio(lambda: _product(torch.bfloat16), lambda: _product(torch.float32))[0]
    note = f"not run: this processor emulates bfloat16, one product takes {1 / speed:.0f} times as long as in float32"
    return Row(what, "unit's speed", "–", "≥ 75%", "110%", None, note)


def _product(dtype: torch.dtype) -> None:
    left = torch.ones(MANY, 128, 128, dtype=dtype)
    torch.bmm(left, left)
