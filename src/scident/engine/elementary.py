"""Elementary functions in single precision, as operations that vector units have.

With ε = 2^-24, `exp` and `log1p` are right to 2 ε, where they and their arguments are normal numbers. NaN stays NaN.
"""

from typing import Any, no_type_check

import numpy as np
from numba import types
from numba.extending import intrinsic

from scident.engine import likelihoods
from scident.engine.native import loop

f32, i32 = np.float32, np.int32

EXACT = {"contract", "nsz", "arcp"}
"""A product and a sum may be one instruction; the order of sums stays."""

LOWEST, HIGHEST = f32(-87.0), f32(87.0)
"""exp of less is nothing beside any other share, and hardly a normal number; exp of more would have no bits."""

MAGIC = f32(1.5 * 2**23)
"""A number added to this one is rounded to an integer, which its lowest bits then are."""

ROOT_HALF, ONE = i32(likelihoods.ROOT_HALF), i32(0x3F800000)
"""Bits of √(1/2) and of 1."""

LOG2_HIGH, LOG2_LOW = f32(0.693359375), f32(-2.12194440e-4)
"""log 2 in two parts; the first times a small integer is exact."""

_EXP = (5.0000001201e-1, 1.6666665459e-1, 4.1665795894e-2, 8.3334519073e-3, 1.3981999507e-3, 1.9875691500e-4)
EXP = tuple(map(f32, _EXP))
"""exp(r) = 1 + r + r² (…) for |r| ≤ log(2) / 2, lowest power first (Moshier, Cephes, expf)."""

LOG = tuple(map(f32, reversed(likelihoods.LOGARITHM)))
"""The series of `likelihoods.LOGARITHM`, lowest power first."""

START = f32(3.5)
"""Digamma's series in even powers of 1/v is used from this v on; the first power left out is below 2e-7 there, at an
argument of 0, where digamma is infinite, and below 3e-8 at 1."""

PSI = tuple(map(f32, (1 / 24, -7 / 960, 31 / 8064)))
"""digamma(v + 1/2) - log v in even powers of 1/v, lowest first."""


@intrinsic
def bits(context: Any, x: Any) -> Any:
    """Return the bits of a number as an integer."""
    return types.int32(types.float32), lambda c, b, s, a: b.bitcast(a[0], c.get_value_type(types.int32))


@intrinsic
def number(context: Any, x: Any) -> Any:
    """Return the number that an integer is the bits of."""
    return types.float32(types.int32), lambda c, b, s, a: b.bitcast(a[0], c.get_value_type(types.float32))


@no_type_check
def _exp(x):
    x = LOWEST if x < LOWEST else x
    x = HIGHEST if x > HIGHEST else x
    rounded = x * f32(1.44269504) + MAGIC
    power = rounded - MAGIC
    r = (x - power * LOG2_HIGH) - power * LOG2_LOW
    r2 = r * r
    series = EXP[0] + r * ((EXP[2] * r + EXP[1]) + r2 * (EXP[4] * r + EXP[3] + r2 * EXP[5]))
    return (series * r2 + (r + f32(1))) * number(i32(i32(bits(rounded) << i32(23)) + ONE))


@no_type_check
def _log1p(x):
    w = f32(1) + x
    power = i32(i32(bits(w) - ROOT_HALF) >> i32(23))
    scale = number(i32(ONE - i32(power << i32(23))))
    f = (w * scale - f32(1)) + (x - (w - f32(1))) * scale  # what 1 + x has lost is added again
    f2, power = f * f, f32(power)
    high = (LOG[5] * f + LOG[4]) + (LOG[7] * f + LOG[6]) * f2 + LOG[8] * (f2 * f2)
    series = (LOG[1] * f + LOG[0]) + (LOG[3] * f + LOG[2]) * f2 + high * (f2 * f2)
    return power * LOG2_HIGH + (f + (f * f2 * series - f32(0.5) * f2 + power * LOG2_LOW))


@no_type_check
def _digamma_less_log(x):
    """Return digamma(x) - log(x + START); the recurrence to x + 4 adds four reciprocals, two by two."""
    y = x * x + f32(3) * x
    v = x + START
    w = f32(1) / (v * v)
    series = PSI[0] + w * (PSI[1] + w * PSI[2])
    return w * series - (f32(1) / y + f32(1) / (y + f32(2))) * (f32(2) * x + f32(3))


exp, log1p, digamma_less_log = (loop(f, fastmath=EXACT, inline="always") for f in (_exp, _log1p, _digamma_less_log))
