# SPDX-License-Identifier: Apache-2.0
"""The learning rate of a layer."""

from amaranth.hdl import Mux, Value

RATE_BITS = 16
_MOST = (1 << RATE_BITS) - 1


def layer_rate(rate: Value, shift: Value) -> Value:
    """Return ``rate * 2^shift``, cut to 1..65535: ``rate`` is unsigned(16), ``shift`` signed."""
    distance = Mux(shift < 0, -shift, shift)
    distance = Mux(distance > RATE_BITS, RATE_BITS, distance)[: RATE_BITS.bit_length()]
    up, down = rate << distance, rate >> distance
    moved = Mux(shift < 0, down, Mux(up > _MOST, _MOST, up))
    return Mux(moved == 0, 1, moved)[:RATE_BITS]
