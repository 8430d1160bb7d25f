# SPDX-License-Identifier: Apache-2.0
"""What training has measured, as the MRAM rows that SAVE writes and RESTORE reads."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from amaranth.lib import data

from respin.firmware_model.layout import IntArray
from respin.firmware_model.structures import from_bits, to_bits
from respin.golden.network import IntegerNetwork
from respin.golden.trainer import TrainingState
from respin.rtl.config import ROW_WEIGHTS, AcceleratorConfig
from respin.rtl.sequencer.scaling import TENSORS_IN_ROW, TensorScaling, scaling_rows

_ROW = data.ArrayLayout(TensorScaling, TENSORS_IN_ROW)
_FIELDS = ("shift", "exponent", "order")


@dataclass(frozen=True, kw_only=True, slots=True)
class Scaling:
    """What is known of a tensor id; None where nothing was measured.

    Parameters
    ----------
    shift:
        With which a tensor's errors are rounded.
    exponent:
        With which they came in when that was measured.
    order:
        Binary order of the largest gradient.
    """

    shift: int | None = None
    exponent: int | None = None
    order: int | None = None


def rows_of_scaling(config: AcceleratorConfig, scaling: Mapping[int, Scaling]) -> IntArray:
    """Return the rows (rows, 32), int8, that hold what is known of tensor ids.

    Raises
    ------
    ValueError
        If an id has no entry in the machine's tables, or a number does not fit.
    """
    rows = []
    for number in scaling:
        if not 0 <= number < config.tensor_ids:
            raise ValueError(f"tensor ids must be in 0..{config.tensor_ids - 1}, not {number!r}")
    for first in range(0, scaling_rows(config) * TENSORS_IN_ROW, TENSORS_IN_ROW):
        entries = [_entry(scaling.get(number, Scaling())) for number in range(first, first + TENSORS_IN_ROW)]
        rows.append(to_bits(_ROW, entries, "scaling").to_bytes(ROW_WEIGHTS, "little"))
    return np.frombuffer(b"".join(rows), dtype=np.int8).reshape(-1, ROW_WEIGHTS)


def scaling_of_rows(rows: IntArray) -> dict[int, Scaling]:
    """Return what rows (rows, 32), int8, say of tensor ids; those of which nothing is known are left out."""
    found = {}
    for number, row in enumerate(rows.astype(np.int8)):
        for place, entry in enumerate(from_bits(_ROW, int.from_bytes(row.tobytes(), "little"))):
            known = {name: entry[name] for name in _FIELDS if entry[f"has_{name}"]}
            if known:
                found[number * TENSORS_IN_ROW + place] = Scaling(**known)
    return found


def scaling_of_training(network: IntegerNetwork, state: TrainingState) -> dict[int, Scaling]:
    """Return what a training by golden has measured so far, by tensor id."""
    found: dict[int, Scaling] = {}
    for edge in network.edges:
        scale = state.scales[edge.name]
        if scale.valid:
            found[edge.tensor] = Scaling(shift=scale.shift, exponent=scale.exponent)
    for layer in network.trained:
        assert layer.trained is not None
        for name, tensor in (("weight", layer.trained.tensor), ("bias", layer.trained.bias_tensor)):
            step = state.step_scales.get(f"{layer.name}.{name}")
            if tensor is not None and step is not None and step.valid:
                found[tensor] = replace(found.get(tensor, Scaling()), order=step.order)
    return found


def _entry(scaling: Scaling) -> dict[str, int]:
    known = {name: value for name in _FIELDS if (value := getattr(scaling, name)) is not None}
    return known | {f"has_{name}": 1 for name in known}
