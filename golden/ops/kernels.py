# SPDX-License-Identifier: Apache-2.0
"""The element-wise equations and the depthwise sums as loops over integers, compiled by Numba.

Arrays are (N, pixels, C) or (N, H, W, C), channels last. Nothing is checked here: the operators do that.
"""

import numpy as np
from numba import njit

from respin.golden.ops.layout import Array

_compiled = njit(cache=True, nogil=True)


@_compiled
def requantise(
    sums: Array, bias: Array, mult: Array, shift: Array, lo: Array, hi: Array, result: Array
) -> None:
    """``clamp(((acc + bias) * M + 2^(s-1)) >> s, lo, hi)``, columns int64."""
    half = np.int64(1) << (shift - 1)
    for n in range(sums.shape[0]):
        for p in range(sums.shape[1]):
            for c in range(sums.shape[2]):
                value = ((np.int64(sums[n, p, c]) + bias[c]) * mult[c] + half[c]) >> shift[c]
                result[n, p, c] = min(max(value, lo[c]), hi[c])


@_compiled
def between(y: Array, lo: Array, hi: Array, result: Array) -> None:
    """``lo < y < hi`` per channel."""
    for n in range(y.shape[0]):
        for p in range(y.shape[1]):
            for c in range(y.shape[2]):
                result[n, p, c] = lo[c] < y[n, p, c] and y[n, p, c] < hi[c]


@_compiled
def accumulate(total: Array, x: Array, zero_point: int, mult: int) -> None:
    """``total += (x - zero) * M``."""
    for n in range(x.shape[0]):
        for p in range(x.shape[1]):
            for c in range(x.shape[2]):
                total[n, p, c] += (np.int32(x[n, p, c]) - np.int32(zero_point)) * np.int32(mult)


@_compiled
def round_clamp(total: Array, shift: int, lo: int, hi: int, result: Array) -> None:
    """``clamp((total + 2^(s-1)) >> s, lo, hi)``."""
    half = np.int64(1) << (shift - 1)
    for n in range(total.shape[0]):
        for p in range(total.shape[1]):
            for c in range(total.shape[2]):
                result[n, p, c] = min(max((np.int64(total[n, p, c]) + half) >> shift, lo), hi)


@_compiled
def scale(x: Array, mult: Array, result: Array) -> None:
    """``x * M_c`` in int64."""
    for n in range(x.shape[0]):
        for p in range(x.shape[1]):
            for c in range(x.shape[2]):
                result[n, p, c] = np.int64(x[n, p, c]) * mult[c]


@_compiled
def add_aligned(total: Array, x: Array, mult: Array, widen: int, align: int) -> None:
    """``total += ((x * M_c) << widen) >> align``."""
    for n in range(x.shape[0]):
        for p in range(x.shape[1]):
            for c in range(x.shape[2]):
                total[n, p, c] += ((np.int64(x[n, p, c]) * mult[c]) << widen) >> align


@_compiled
def mask_values(values: Array, mask: Array) -> None:
    """``values *= mask``."""
    for n in range(values.shape[0]):
        for p in range(values.shape[1]):
            for c in range(values.shape[2]):
                values[n, p, c] = values[n, p, c] if mask[n, p, c] else 0


@_compiled
def round_error(values: Array, draws: Array, shift: int, limit: int, result: Array) -> tuple[np.int64, np.int64]:
    """Round to nearest, or by ``draws`` where there are any, and cut to ±limit; returns largest |v| and saturations."""
    stochastic = draws.shape[0] > 0
    half = (np.int64(1) << shift) >> 1
    largest, saturated = np.int64(0), np.int64(0)
    down, up = max(16 - shift, 0), max(shift - 16, 0)
    for n in range(values.shape[0]):
        for p in range(values.shape[1]):
            for c in range(values.shape[2]):
                value = values[n, p, c]
                largest = max(largest, abs(value))
                start = (np.int64(draws[n, p, c]) >> down) << up if stochastic else half
                rounded = (value + start) >> shift
                saturated += np.int64(abs(rounded) > limit)
                result[n, p, c] = min(max(rounded, -limit), limit)
    return largest, saturated


@_compiled
def depthwise(x: Array, weight: Array, stride: int, sums: Array) -> None:
    """Depthwise convolution of ``x`` (N, H, W, C), padded already, with ``weight`` (kh, kw, C), int32."""
    kh, kw, channels = weight.shape
    for n in range(sums.shape[0]):
        for i in range(sums.shape[1]):
            for j in range(sums.shape[2]):
                target = sums[n, i, j]
                target[:] = 0
                for u in range(kh):
                    for v in range(kw):
                        source, taps = x[n, i * stride + u, j * stride + v], weight[u, v]
                        for c in range(channels):
                            target[c] += np.int32(source[c]) * taps[c]


@_compiled
def depthwise_error(error: Array, weight: Array, stride: int, sums: Array) -> None:
    """Its transpose: adds ``error`` (N, oh, ow, C) times ``weight`` into ``sums`` (N, H, W, C), the padded input's."""
    kh, kw, channels = weight.shape
    for n in range(error.shape[0]):
        for i in range(error.shape[1]):
            for j in range(error.shape[2]):
                source = error[n, i, j]
                for u in range(kh):
                    for v in range(kw):
                        target, taps = sums[n, i * stride + u, j * stride + v], weight[u, v]
                        for c in range(channels):
                            target[c] += np.int32(source[c]) * taps[c]


@_compiled
def simon(left: Array, right: Array, keys: Array) -> None:
    """Encrypt the blocks ``(left, right)``, uint16, in place: a round of Simon32/64 for each key."""
    block = 1024  # what stays in the nearest cache while the rounds pass over it
    for start in range(0, left.shape[0], block):
        x, y = left[start : start + block], right[start : start + block]
        for key in keys:
            for i in range(x.shape[0]):
                word = np.uint32(x[i])
                mixed = ((word << 1 | word >> 15) & (word << 8 | word >> 8)) ^ (word << 2 | word >> 14)
                x[i], y[i] = np.uint16(mixed ^ np.uint32(y[i]) ^ np.uint32(key)), x[i]
