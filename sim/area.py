# SPDX-License-Identifier: Apache-2.0
"""What a machine takes of a chip: what it is made of, counted, times what each of that takes, by the file of costs.

A rough estimate for comparing parts with each other. Cells of the array and bits of memory follow from the
configuration; logic is counted by synthesis for an FPGA, in look-up tables and flip-flops, and taken as so many gates.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from respin.rtl.config import BLOCK, PLANES, ROW_COLUMNS, AcceleratorConfig
from respin.sim.cost import UNITS, Figure

ARRAY, STORE, REST = "MRAM array", "store", "the rest"
GROUPS: Mapping[str, tuple[str, ...]] = {
    "bank control": ("respin_mram", "respin_guard", "respin_keeper"),
    "engine": ("respin_engine",),
    "depthwise": ("respin_depthwise",),
    "vector path": ("respin_vector", "respin_gather", "respin_loss"),
    "update": ("respin_update", "respin_scales"),
    "addressing": ("respin_window", "respin_feeder"),
    "host": ("respin_host", "respin_sequencer"),
}
"""Parts of the logic, of blocks that ``respin bench area`` counts."""
WHOLE = "respin"
A_JOB_SLOT = ("respin_window", "respin_vector")
"""Blocks of which each job slot has one."""
FIGURES = tuple(name for name in UNITS if name.startswith("area."))
"""Names of the figures that the area is made of."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Logic:
    """What synthesis counted of a block: 6-input look-up tables, flip-flops, and bits of block RAM."""

    lut6: int
    flip_flops: int
    memory_bits: float = 0

    def __add__(self, other: "Logic") -> "Logic":
        return Logic(
            lut6=self.lut6 + other.lut6,
            flip_flops=self.flip_flops + other.flip_flops,
            memory_bits=self.memory_bits + other.memory_bits,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Part:
    """A part of a machine, with what is counted of it."""

    name: str
    mtjs: int = 0
    logic: Logic = Logic(lut6=0, flip_flops=0)

    def square_micrometres(self, of: Mapping[str, Figure]) -> float:
        """Its area."""
        value = {name: of[name].value for name in FIGURES}
        gates = self.logic.lut6 * value["area.lut6"] + self.logic.flip_flops * value["area.flip_flop"]
        cells = self.mtjs * value["area.mtj"] + self.logic.memory_bits * value["area.sram_bit"]
        return cells / value["area.array_share"] + gates * value["area.gate"] / value["area.logic_share"]


def parts(config: AcceleratorConfig, blocks: Mapping[str, Logic] | None = None) -> list[Part]:
    """Return the parts of a machine: array and store, and the logic if all of its ``blocks`` were counted, which go by
    their modules' names."""
    store = Logic(lut6=0, flip_flops=0, memory_bits=config.store_words * BLOCK * PLANES)
    found = [Part(name=ARRAY, mtjs=config.total_rows * ROW_COLUMNS), Part(name=STORE, logic=store)]
    if blocks is None:
        return found
    for name, modules in GROUPS.items():
        times = {module: config.job_slots if module in A_JOB_SLOT else 1 for module in modules}
        found.append(Part(name=name, logic=_sum([blocks[module] for module in modules for _ in range(times[module])])))
    whole, named = blocks[WHOLE], _sum([part.logic for part in found])
    left = Logic(lut6=max(whole.lut6 - named.lut6, 0), flip_flops=max(whole.flip_flops - named.flip_flops, 0))
    return [*found, Part(name=REST, logic=left)]


def square_micrometres(made: Sequence[Part], of: Mapping[str, Figure]) -> float:
    """Return the area of some parts together."""
    return sum(part.square_micrometres(of) for part in made)


def _sum(counted: Sequence[Logic]) -> Logic:
    total = Logic(lut6=0, flip_flops=0)
    for logic in counted:
        total += logic
    return total
