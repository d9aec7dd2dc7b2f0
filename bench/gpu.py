"""Many members on a GPU."""

import torch

from bench.problem import TRAIN, loop
from bench.timing import seconds

MEMBERS = (1, 16, 64, 256)


def text() -> str:
    """Return cells × members per second and peak memory, or that there is no GPU."""
    if not torch.cuda.is_available():
        return "Not run: no GPU was there."
    lines = ["| members | cells × members a second | peak memory |", "|---|---|---|"]
    for members in MEMBERS:
        torch.cuda.reset_peak_memory_stats()
        running = loop(members, torch.device("cuda"), compiled=True)
        running.epoch()
        torch.cuda.synchronize()
        spent = min(seconds(lambda running=running: (running.epoch(), torch.cuda.synchronize())) for _ in range(5))
        peak = torch.cuda.max_memory_allocated() / 1e9
        lines.append(f"| {members} | {members * TRAIN / spent:,.0f} | {peak:.2f} GB |")
    return f"{torch.cuda.get_device_name()}\n\n" + "\n".join(lines)
