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
def _mix(x: np.uint16) -> np.uint16:
    """What a round of Simon adds to the other word, without the key. Each rotation stays in 16 bits."""
    rol1 = np.uint16(x << 1) | np.uint16(x >> 15)
    rol8 = np.uint16(x << 8) | np.uint16(x >> 8)
    rol2 = np.uint16(x << 2) | np.uint16(x >> 14)
    return np.uint16((rol1 & rol8) ^ rol2)


@_compiled
def _four_rounds(x: Array, y: Array, k0: np.uint16, k1: np.uint16, k2: np.uint16, k3: np.uint16) -> None:
    # Two rounds exchange the words twice, so they need not be exchanged at all.
    for i in range(x.shape[0]):
        left, right = x[i], y[i]
        right = np.uint16(right ^ _mix(left) ^ k0)
        left = np.uint16(left ^ _mix(right) ^ k1)
        right = np.uint16(right ^ _mix(left) ^ k2)
        left = np.uint16(left ^ _mix(right) ^ k3)
        x[i], y[i] = left, right


@_compiled
def _round(x: Array, y: Array, key: np.uint16) -> None:
    for i in range(x.shape[0]):
        x[i], y[i] = np.uint16(y[i] ^ _mix(x[i]) ^ key), x[i]


@_compiled
def simon(x: Array, y: Array, keys: Array) -> None:
    """Encrypt the blocks ``(x, y)``, uint16, in place: a round of Simon32/64 for each key."""
    fours = keys.shape[0] // 4 * 4
    for r in range(0, fours, 4):
        _four_rounds(x, y, keys[r], keys[r + 1], keys[r + 2], keys[r + 3])
    for r in range(fours, keys.shape[0]):
        _round(x, y, keys[r])


@_compiled
def _split(first: np.uint32, steps: Array, x: Array, y: Array) -> None:
    """The indices ``first + steps`` as plaintext: high words in ``x``, low ones in ``y``."""
    for i in range(x.shape[0]):
        index = np.uint32(first + steps[i])
        x[i], y[i] = np.uint16(index >> np.uint32(16)), np.uint16(index)


@_compiled
def draw_field(keys: Array, draws: Array) -> None:
    """The draws of a whole tensor, (N, pixels, C); the index counts it as (N, C, pixels).

    Some pixels at a time: what stays in the nearest cache while the rounds pass over it.
    """
    images, pixels, channels = draws.shape
    block = max(1, min(pixels, 4096 // max(1, channels)))
    steps = np.empty(block * channels, dtype=np.uint32)
    for p in range(block):
        for c in range(channels):
            steps[p * channels + c] = c * pixels + p
    x, y = np.empty(steps.shape[0], dtype=np.uint16), np.empty(steps.shape[0], dtype=np.uint16)
    for n in range(images):
        image = draws[n].reshape(-1)
        for start in range(0, pixels, block):
            count = min(block, pixels - start) * channels
            _split(np.uint32(n * channels * pixels + start), steps, x[:count], y[:count])
            simon(x[:count], y[:count], keys)
            image[start * channels : start * channels + count] = x[:count]
