# SPDX-License-Identifier: Apache-2.0
"""Structures of the hardware as bytes: what firmware writes into external memory."""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

from amaranth.hdl import Shape, ShapeCastable, ShapeLike
from amaranth.lib import data


def _resolve(shape: ShapeLike) -> data.Layout | Shape:
    while isinstance(shape, ShapeCastable) and not isinstance(shape, data.Layout):
        shape = shape.as_shape()
    return shape if isinstance(shape, data.Layout) else Shape.cast(shape)


def to_bits(shape: ShapeLike, value: Any, name: str = "value") -> int:
    """Return the bits of ``value``: an integer, a list for an array, a mapping for a structure; what is absent is 0.

    Raises
    ------
    ValueError
        If a number does not fit its field, a list has another length, or a name is none of the structure's.
    """
    resolved = _resolve(shape)
    if isinstance(resolved, Shape):
        number = int(value.value if isinstance(value, Enum) else value)
        low = -(1 << (resolved.width - 1)) if resolved.signed else 0
        high = low + (1 << resolved.width) - 1
        if not low <= number <= high:
            raise ValueError(f"{name} must be in {low}..{high}, not {number}")
        bits: int = number & ((1 << resolved.width) - 1)
        return bits
    if isinstance(resolved, data.ArrayLayout):
        if len(value) != resolved.length:
            raise ValueError(f"{name} must have {resolved.length} elements, not {len(value)}")
        width = Shape.cast(resolved.elem_shape).width
        parts = enumerate(value)
        return sum(to_bits(resolved.elem_shape, item, f"{name}[{at}]") << (at * width) for at, item in parts)
    fields = dict(resolved)
    for key in value:
        if key not in fields:
            raise ValueError(f"{name} has no field {key}")
    return sum(
        to_bits(fields[key].shape, item, f"{name}.{key}") << fields[key].offset for key, item in value.items()
    )


def from_bits(shape: ShapeLike, bits: int) -> Any:
    """Return what bits mean: an integer, a list for an array, a dict for a structure. Enumerations stay numbers."""
    resolved = _resolve(shape)
    if isinstance(resolved, Shape):
        number = bits & ((1 << resolved.width) - 1)
        negative = resolved.signed and number >> (resolved.width - 1)
        return number - (1 << resolved.width) if negative else number
    if isinstance(resolved, data.ArrayLayout):
        width = Shape.cast(resolved.elem_shape).width
        return [from_bits(resolved.elem_shape, bits >> (at * width)) for at in range(resolved.length)]
    return {name: from_bits(field.shape, bits >> field.offset) for name, field in resolved}


def leaves(shape: ShapeLike, name: str = "", offset: int = 0) -> Iterator[tuple[str, int, int]]:
    """Yield the name, the lowest bit and the width of every number in a structure."""
    resolved = _resolve(shape)
    if isinstance(resolved, Shape):
        yield name, offset, resolved.width
    elif isinstance(resolved, data.ArrayLayout):
        width = Shape.cast(resolved.elem_shape).width
        for at in range(resolved.length):
            yield from leaves(resolved.elem_shape, f"{name}[{at}]", offset + at * width)
    else:
        for key, field in resolved:
            yield from leaves(field.shape, f"{name}.{key}" if name else str(key), offset + field.offset)


def set_fields(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that are not 0, nested ones likewise: what a listing shows."""
    return {key: shown for key, value in fields.items() if (shown := _shown(value))}


def _shown(value: Any) -> Any:
    """A field without what is 0 in it; something false if all of it is."""
    if isinstance(value, Mapping):
        return set_fields(value)
    if isinstance(value, list):
        items = [_shown(item) for item in value]
        return items if any(items) else []
    return value
