# SPDX-License-Identifier: Apache-2.0
"""Payloads as Python values and as the bits of a port, by their Amaranth shape.

Verilog's ports keep neither the fields nor the sign of a payload; the shape that the component was built with does.
"""

from enum import Enum
from typing import Any

from amaranth.hdl import Shape, ShapeCastable, ShapeLike
from amaranth.lib import data


def _resolve(shape: ShapeLike) -> data.Layout | Shape:
    while isinstance(shape, ShapeCastable) and not isinstance(shape, data.Layout):
        shape = shape.as_shape()
    return shape if isinstance(shape, data.Layout) else Shape.cast(shape)


def pack(shape: ShapeLike, value: Any) -> int:
    """Return the bits of ``value``: an integer, a list for an array, a dict for a structure (fields left out are 0).

    Raises
    ------
    ValueError
        If a number does not fit its field, or a list has the wrong length.
    """
    resolved = _resolve(shape)
    if isinstance(resolved, Shape):
        number = int(value.value if isinstance(value, Enum) else value)
        low = -(1 << (resolved.width - 1)) if resolved.signed and resolved.width else 0
        if not low <= number < low + (1 << resolved.width):
            raise ValueError(f"{number} does not fit into {resolved!r}")
        return number & ((1 << resolved.width) - 1)
    if isinstance(resolved, data.ArrayLayout):
        items = list(value)
        if len(items) != resolved.length:
            raise ValueError(f"an array of {resolved.length} needs as many values, not {len(items)}")
        width = Shape.cast(resolved.elem_shape).width
        return sum(pack(resolved.elem_shape, item) << (index * width) for index, item in enumerate(items))
    return sum(pack(resolved[name].shape, item) << resolved[name].offset for name, item in value.items())


def unpack(shape: ShapeLike, bits: int) -> Any:
    """Return what ``bits`` mean: an integer, a list for an array, a dict for a structure."""
    resolved = _resolve(shape)
    if isinstance(resolved, Shape):
        number = bits & ((1 << resolved.width) - 1)
        negative = resolved.signed and number >> (resolved.width - 1)
        return number - (1 << resolved.width) if negative else number
    if isinstance(resolved, data.ArrayLayout):
        width = Shape.cast(resolved.elem_shape).width
        return [unpack(resolved.elem_shape, bits >> (index * width)) for index in range(resolved.length)]
    return {name: unpack(field.shape, bits >> field.offset) for name, field in resolved}
