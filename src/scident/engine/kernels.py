"""Loops of the negative binomial's loss in single precision, made for vector units; `likelihoods` has the formulas.

Cells are innermost, [members, genes, cells], and `BLOCK` genes go through all steps before the next, so that what one
step leaves is still in the nearest cache for the next. Sums over genes are sums of blocks' sums. NaN stays NaN. Where a
comparison chooses what a row becomes, it is written to another row: of the same one the compiler would make a masked
store, many times slower on some processors.
"""

import math
from typing import Any, no_type_check

import numpy as np
from numba import carray, types  # type: ignore[attr-defined] # not said to be public there
from numba.extending import intrinsic

from scident.engine.elementary import EXACT, START, digamma_less_log, exp, f32, log1p
from scident.engine.fused import BLOCK
from scident.engine.native import loop

CELLS = 128
"""Cells whose likelihood is computed together."""

TABLE = 256
"""Counts below it are looked up, in a table no longer than a gene's largest count wants."""


@no_type_check
def _total(row):
    total = f32(0)
    for c in range(len(row)):
        total += row[c]
    return total


@no_type_check
def _add(total, row):
    for c in range(len(total)):
        total[c] += row[c]


@no_type_check
def _raise(low, row, out):
    """Write the larger of two rows."""
    for c in range(len(low)):
        a, b = row[c], low[c]
        out[c] = a if a > b else b


@no_type_check
def _shares(row, peak, out, total):
    for c in range(len(peak)):
        share = exp(row[c] - peak[c])
        out[c] = share
        total[c] += share


@no_type_check
def _losses(row, normaliser, counts, total):
    for c in range(len(total)):
        total[c] += counts[c] * (normaliser[c] - row[c])


@no_type_check
def _scales(peak, shift, out):
    for c in range(len(out)):
        out[c] = exp(peak[c] + shift[c])


@no_type_check
def _slopes(share, scale, counts, t, total):
    for c in range(len(total)):
        mean = share[c] * scale[c]
        total[c] += (mean - counts[c]) / (mean + t) * t


@no_type_check
def _gradients(share, scale, counts, t, digamma, common, outer, to_logits, to_r):
    ratio, shifted = START / t, t + START
    for c in range(len(to_r)):
        x = counts[c]
        mean = share[c] * scale[c]
        slope = (mean - x) / (mean + t) * t
        to_logits[c] = (slope - mean * common[c]) * outer[c]
        # digamma(t + x) - digamma(t) = log(1 + x/(t + START)) + a difference of small terms; that logarithm and
        # log(1 + m/t) are taken as one
        logs = log1p((mean - x + mean * ratio) / (x + shifted))
        to_r[c] = ((logs - (digamma_less_log(x + t) - digamma)) * t - slope) * outer[c]


@no_type_check
def _densities(row, shift, share, scale, counts, t, total):
    inverse = f32(1) / t
    for c in range(len(total)):
        x = counts[c]
        total[c] += x * (row[c] + shift[c]) - (x + t) * log1p(share[c] * scale[c] * inverse)


total = loop(_total, fastmath=EXACT | {"reassoc"})
steps = (_add, _raise, _shares, _losses, _scales, _slopes, _gradients, _densities)
add, highest, shares, losses, scales, slopes, gradients, densities = (loop(f, fastmath=EXACT) for f in steps)


@no_type_check
def _softmax(logits, start, share, peaks):
    """Take some cells of one member as shares exp(logit - peak), peaks being the highest so far, one of each block.

    Parameters
    ----------
    logits
        [genes, all cells]; those from `start` on are taken.
    share, peaks
        [genes, cells] and [blocks, cells], written.

    Returns
    -------
    log Σ exp(logits), [cells].
    """
    genes, cells = share.shape
    stop = start + cells
    high, part = np.empty((BLOCK + 1, cells), f32), np.empty(cells, f32)
    whole = np.zeros(cells, f32)
    high[0] = f32(-3e38)
    for block in range(len(peaks)):
        first, last = block * BLOCK, min(block * BLOCK + BLOCK, genes)
        for g in range(first, last):
            highest(high[g - first], logits[g, start:stop], high[g - first + 1])
        peak = peaks[block]
        peak[:] = high[last - first]
        for c in range(cells):
            whole[c] *= exp(high[0, c] - peak[c])
        part[:] = 0
        for g in range(first, last):
            shares(logits[g, start:stop], peak, share[g], part)
        add(whole, part)
        high[0] = peak
    return high[0] + np.log(whole)


softmax = loop(_softmax, fastmath=EXACT)


@no_type_check
def _forward(counts, logits, share, peaks, normaliser, loss):
    """Write -Σ x log softmax(logits) and what `backward` needs.

    Parameters
    ----------
    counts, logits
        [members, genes, cells].
    share, peaks, normaliser
        [members, genes, cells], [members, blocks, cells] and [members, cells], as in `_softmax`; written.
    loss
        [members, cells], written.
    """
    members, genes, cells = logits.shape
    part = np.empty(cells, f32)
    loss[:] = 0
    for k in range(members):
        normaliser[k] = softmax(logits[k], 0, share[k], peaks[k])
        for first in range(0, genes, BLOCK):
            part[:] = 0
            for g in range(first, min(first + BLOCK, genes)):
                losses(logits[k, g], normaliser[k], counts[k, g], part)
            add(loss[k], part)


@no_type_check
def _backward(counts, share, peaks, normaliser, log_library, r, outer, to_logits, to_r):
    """Write the gradients of the negative log-likelihoods, weighted by `outer` and, those of r, summed over cells.

    Parameters
    ----------
    counts
        [members, genes, cells].
    share, peaks, normaliser
        As from `forward`.
    log_library, outer
        [members, cells].
    r
        [members, genes].
    to_logits, to_r
        [members, genes, cells] and [members, genes], written.
    """
    members, genes, cells = counts.shape
    part, scale, of_r = np.empty(cells, f32), np.empty(cells, f32), np.empty(cells, f32)
    t, digamma = np.empty(genes, f32), np.empty(genes, f32)
    for k in range(members):
        for g in range(genes):
            t[g] = exp(r[k, g])
            digamma[g] = digamma_less_log(t[g])
        shift = log_library[k] - normaliser[k]
        common = np.zeros(cells, f32)
        for block in range(peaks.shape[1]):
            scales(peaks[k, block], shift, scale)
            part[:] = 0
            for g in range(block * BLOCK, min(block * BLOCK + BLOCK, genes)):
                slopes(share[k, g], scale, counts[k, g], t[g], part)
            add(common, part)
        common *= np.exp(-log_library[k])
        for block in range(peaks.shape[1]):
            scales(peaks[k, block], shift, scale)
            for g in range(block * BLOCK, min(block * BLOCK + BLOCK, genes)):
                gradients(share[k, g], scale, counts[k, g], t[g], digamma[g], common, outer[k], to_logits[k, g], of_r)
                to_r[k, g] = total(of_r)


@no_type_check
def _varying(counts, logits, log_library, r, out):
    """Write what of log NB(counts) depends on the mean, nats.

    Parameters
    ----------
    counts, logits
        [members, genes, cells].
    log_library
        [members, cells].
    r
        [members, genes].
    out
        [members, cells], written.
    """
    members, genes, cells = counts.shape
    t, blocks = np.empty(genes, f32), (genes + BLOCK - 1) // BLOCK
    for k in range(members):
        for g in range(genes):
            t[g] = exp(r[k, g])
        for start in range(0, cells, CELLS):
            stop = min(start + CELLS, cells)
            size = stop - start
            share, peaks = np.empty((genes, size), f32), np.empty((blocks, size), f32)
            sums, part, scale = np.zeros(size, f32), np.empty(size, f32), np.empty(size, f32)
            shift = log_library[k, start:stop] - softmax(logits[k], start, share, peaks)
            for block in range(blocks):
                scales(peaks[block], shift, scale)
                part[:] = 0
                for g in range(block * BLOCK, min(block * BLOCK + BLOCK, genes)):
                    row, x = logits[k, g, start:stop], counts[k, g, start:stop]
                    densities(row, shift, share[g], scale, x, t[g], part)
                add(sums, part)
            out[k, start:stop] = sums


@no_type_check
def _constant(counts, r, out):
    """Write what of log NB(counts) does not depend on the mean, nats.

    That is log Π (1 + i/t) / (1 + i), i = 0…x-1, for whole x: looked up where x is small.

    Parameters
    ----------
    counts
        [members, genes, cells].
    r
        [members, genes], double.
    out
        [members, cells], double, written.
    """
    table = np.zeros(TABLE)
    out[:] = 0
    for k in range(len(counts)):
        for g in range(counts.shape[1]):
            t, row = math.exp(r[k, g]), counts[k, g]
            known = min(max(0.0, row.max()), TABLE - 1.0)
            for i in range(int(known)):
                table[i + 1] = table[i] + math.log((1 + i / t) / (1 + i))
            for c in range(len(row)):
                x = float(row[c])
                if 0 <= x <= known and int(x) == x:
                    out[k, c] += table[int(x)]
                else:
                    out[k, c] += math.lgamma(x + t) - math.lgamma(t) - x * r[k, g] - math.lgamma(x + 1)


forward, backward, varying, constant = (loop(f, fastmath=EXACT) for f in (_forward, _backward, _varying, _constant))


@intrinsic
def at(context: Any, address: Any) -> Any:
    """Return a pointer to a number in single precision."""
    kind = types.CPointer(types.float32)  # type: ignore[no-untyped-call]
    return kind(types.int64), lambda c, b, s, a: b.inttoptr(a[0], c.get_value_type(kind))


@intrinsic
def double_at(context: Any, address: Any) -> Any:
    """Return a pointer to a number in double precision."""
    kind = types.CPointer(types.float64)  # type: ignore[no-untyped-call]
    return kind(types.int64), lambda c, b, s, a: b.inttoptr(a[0], c.get_value_type(kind))


@no_type_check
def _forward_at(members, genes, cells, counts, logits, share, peaks, normaliser, loss):
    """As `forward`, given addresses: numbers are handed over ten times as fast as arrays."""
    wide, blocks, thin = (members, genes, cells), (members, (genes + BLOCK - 1) // BLOCK, cells), (members, cells)
    given = carray(at(counts), wide), carray(at(logits), wide)
    forward(
        *given, carray(at(share), wide), carray(at(peaks), blocks), carray(at(normaliser), thin), carray(at(loss), thin)
    )


@no_type_check
def _backward_at(members, genes, cells, counts, share, peaks, normaliser, log_library, r, outer, to_logits, to_r):
    wide, blocks, thin = (members, genes, cells), (members, (genes + BLOCK - 1) // BLOCK, cells), (members, cells)
    kept = carray(at(share), wide), carray(at(peaks), blocks), carray(at(normaliser), thin)
    given = carray(at(log_library), thin), carray(at(r), (members, genes)), carray(at(outer), thin)
    backward(carray(at(counts), wide), *kept, *given, carray(at(to_logits), wide), carray(at(to_r), (members, genes)))


@no_type_check
def _varying_at(members, genes, cells, counts, logits, log_library, r, out):
    wide, thin = (members, genes, cells), (members, cells)
    given = carray(at(counts), wide), carray(at(logits), wide)
    varying(*given, carray(at(log_library), thin), carray(at(r), (members, genes)), carray(at(out), thin))


@no_type_check
def _constant_at(members, genes, cells, counts, r, out):
    wide, thin = (members, genes, cells), (members, cells)
    constant(carray(at(counts), wide), carray(double_at(r), (members, genes)), carray(double_at(out), thin))


CALLS = {
    "forward": loop(_forward_at),
    "backward": loop(_backward_at),
    "varying": loop(_varying_at),
    "constant": loop(_constant_at),
}
"""By name; each takes members, genes, cells and then addresses."""
