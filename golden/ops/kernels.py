# SPDX-License-Identifier: Apache-2.0
"""The element-wise equations and the depthwise sums as loops over integers, compiled by Numba.

Arrays are (N, pixels, C) or (N, H, W, C), channels last. Nothing is checked here: the operators do that.
"""

import numpy as np
from numba import njit

from respin.golden.ops.layout import Array

_compiled = njit(cache=True, nogil=True)


@_compiled
def requantise(sums: Array, mult: Array, offset: Array, shift: Array, lo: Array, hi: Array, result: Array) -> None:
    """``clamp((acc * M + offset) >> s, lo, hi)``; M is int32, so that one instruction multiplies to 64 bits."""
    for n in range(sums.shape[0]):
        for p in range(sums.shape[1]):
            for c in range(sums.shape[2]):
                value = (np.int64(sums[n, p, c]) * np.int64(mult[c]) + offset[c]) >> shift[c]
                result[n, p, c] = min(max(value, lo[c]), hi[c])


@_compiled
def between(y: Array, lo: Array, hi: Array, result: Array) -> None:
    """``lo < y < hi`` per channel, all of one type."""
    for n in range(y.shape[0]):
        for p in range(y.shape[1]):
            for c in range(y.shape[2]):
                result[n, p, c] = (lo[c] < y[n, p, c]) & (y[n, p, c] < hi[c])


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
def any_nonzero(x: Array) -> bool:
    """Whether some element is not 0; it looks no further than the first."""
    for n in range(x.shape[0]):
        for p in range(x.shape[1]):
            for c in range(x.shape[2]):
                if x[n, p, c] != 0:
                    return True
    return False


@_compiled
def add_aligned(total: Array, x: Array, mult: Array, widen: int, align: int) -> None:
    """``total += ((x * M_c) << widen) >> align``."""
    for n in range(x.shape[0]):
        for p in range(x.shape[1]):
            for c in range(x.shape[2]):
                total[n, p, c] += ((np.int64(x[n, p, c]) * mult[c]) << widen) >> align


@_compiled
def round_error(
    x: Array, mult: Array, mask: Array, draws: Array, half: int, shift: int, limit: int, result: Array
) -> tuple[np.int64, np.int64]:
    """``v = mask * x * M_c``, rounded by ``draws`` and cut to ±limit; returns the largest |v| and the saturations.

    ``half`` is added too, for rounding to nearest. A ``mask`` or ``draws`` of one pixel stands for all of them.
    """
    largest, saturated = np.int64(0), np.int64(0)
    down, up = max(16 - shift, 0), max(shift - 16, 0)
    for n in range(x.shape[0]):
        for p in range(x.shape[1]):
            keep = min(n, mask.shape[0] - 1), min(p, mask.shape[1] - 1)
            draw = min(n, draws.shape[0] - 1), min(p, draws.shape[1] - 1)
            for c in range(x.shape[2]):
                value = np.int64(x[n, p, c]) * np.int64(mult[c]) if mask[keep[0], keep[1], c] else np.int64(0)
                largest = max(largest, abs(value))
                start = (np.int64(draws[draw[0], draw[1], c]) >> down) << up
                rounded = (value + start + half) >> shift
                cut = min(max(rounded, -limit), limit)
                saturated += np.int64(rounded != cut)
                result[n, p, c] = cut
    return largest, saturated


@_compiled
def measure(gradient: Array) -> tuple[np.int64, np.int64, np.int64]:
    """``Σ|G|``, the number of nonzero entries and ``max|G|``."""
    total, count, largest = np.int64(0), np.int64(0), np.int64(0)
    for n in range(gradient.shape[0]):
        for p in range(gradient.shape[1]):
            for c in range(gradient.shape[2]):
                magnitude = abs(np.int64(gradient[n, p, c]))
                total += magnitude
                count += np.int64(magnitude > 0)
                largest = max(largest, magnitude)
    return total, count, largest


@_compiled
def ternary_update(
    weight: Array,
    gradient: Array,
    draws: Array,
    shift: int,
    bits: int,
    limit: int,
    moved: Array,
    move: Array,
) -> None:
    """``u = sign(G)`` where ``R < min(2^bits - 1, (|G| << bits) >> shift)``, else 0;
    ``w' = clamp(w - u, -limit, limit)``."""
    most = (1 << bits) - 1
    for n in range(weight.shape[0]):
        for p in range(weight.shape[1]):
            for c in range(weight.shape[2]):
                slope = np.int64(gradient[n, p, c])
                moves = draws[n, p, c] < min((abs(slope) << bits) >> shift, most)
                step = np.int64(moves and slope > 0) - np.int64(moves and slope < 0)
                moved[n, p, c] = min(max(np.int64(weight[n, p, c]) - step, -limit), limit)
                move[n, p, c] = step


@_compiled
def windows(x: Array, down: int, along: int, rows: Array) -> None:
    """``rows[n, i, j, u] = x[n, i * down + u, j * along ...]``: the rows of each window of ``x`` (N, H, W * C)."""
    for n in range(rows.shape[0]):
        for i in range(rows.shape[1]):
            for u in range(rows.shape[3]):
                line = x[n, i * down + u]
                for j in range(rows.shape[2]):
                    # Unsigned, so that no place is taken for one that counts from the end, and whole vectors are moved.
                    start = np.uint64(j) * np.uint64(along)
                    for k in range(np.uint64(rows.shape[4])):
                        rows[n, i, j, u, k] = line[start + k]


@_compiled
def _sources(outputs: int, inputs: int, taps: int, stride: int, spread: int, before: int) -> Array:
    """Where along an axis each output meets each tap: the input's place, -1 where there is only padding or a gap."""
    places = np.full((outputs, taps), -1, dtype=np.int64)
    for i in range(outputs):
        for u in range(taps):
            place = i * stride + u - before
            if place >= 0 and place % spread == 0 and place // spread < inputs:
                places[i, u] = place // spread
    return places


@_compiled
def depthwise(x: Array, taps: Array, columns: int, stride: int, spread: int, top: int, left: int, sums: Array) -> None:
    """Depthwise convolution of ``x`` (N, H, W, C), padded with zeros and with ``spread - 1`` of them between elements.

    ``taps`` (kh * kw + 1, C) has ``columns`` = kw taps a row and ends with a row of zeros; ``top`` and ``left`` are
    what is padded there. The padding is never read: each place lists the taps that meet an element, once for all
    images, and nine of them are added in one go, the row of zeros for those that are missing.
    """
    images, height, width, channels = x.shape
    count = taps.shape[0] - 1
    rows = _sources(sums.shape[1], height, count // columns, stride, spread, top)
    places = _sources(sums.shape[2], width, columns, stride, spread, left)
    pixels = x.reshape(images, -1, channels)
    s, t = np.zeros(count + 9, dtype=np.int64), np.zeros(count + 9, dtype=np.int64)
    for i in range(sums.shape[1]):
        for j in range(sums.shape[2]):
            met = 0
            for u in range(rows.shape[1]):
                for v in range(columns):
                    if rows[i, u] >= 0 and places[j, v] >= 0:
                        s[met], t[met] = rows[i, u] * width + places[j, v], u * columns + v
                        met += 1
            t[met:] = count
            for k in range(0, max(met, 1), 9):
                s0, s1, s2, s3, s4 = s[k], s[k + 1], s[k + 2], s[k + 3], s[k + 4]
                s5, s6, s7, s8 = s[k + 5], s[k + 6], s[k + 7], s[k + 8]
                t0, t1, t2, t3, t4 = t[k], t[k + 1], t[k + 2], t[k + 3], t[k + 4]
                t5, t6, t7, t8 = t[k + 5], t[k + 6], t[k + 7], t[k + 8]
                before = np.int32(-1 if k else 0)  # all bits of what is there already, or none of them
                for n in range(images):
                    for c in range(channels):
                        sums[n, i, j, c] = (
                            (sums[n, i, j, c] & before)
                            + np.int32(pixels[n, s0, c]) * taps[t0, c]
                            + np.int32(pixels[n, s1, c]) * taps[t1, c]
                            + np.int32(pixels[n, s2, c]) * taps[t2, c]
                            + np.int32(pixels[n, s3, c]) * taps[t3, c]
                            + np.int32(pixels[n, s4, c]) * taps[t4, c]
                            + np.int32(pixels[n, s5, c]) * taps[t5, c]
                            + np.int32(pixels[n, s6, c]) * taps[t6, c]
                            + np.int32(pixels[n, s7, c]) * taps[t7, c]
                            + np.int32(pixels[n, s8, c]) * taps[t8, c]
                        )


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
