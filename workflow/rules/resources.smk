"""Functions only: what a job may ask for, growing with each attempt."""


def this_attempt(wildcards, attempt):
    """Return which attempt a job is in."""
    return attempt


def grow(mebibytes):
    """Return a resource function: this much memory, doubled with each attempt."""

    def mem_mb(wildcards, attempt):
        return mebibytes * 2 ** (attempt - 1)

    return mem_mb


def lengthen(minutes):
    """Return a resource function: this much time, half as much again with each attempt."""

    def runtime(wildcards, attempt):
        return int(minutes * 1.5 ** (attempt - 1))

    return runtime
