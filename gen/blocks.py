# SPDX-License-Identifier: Apache-2.0
"""The one list of the accelerator's blocks: what is delivered as Verilog, and what area is counted of."""

from collections.abc import Callable
from dataclasses import dataclass

from amaranth.lib.wiring import Component

from respin.rtl.buffer.feeder import GradientFeeder
from respin.rtl.buffer.window import Window
from respin.rtl.config import AcceleratorConfig
from respin.rtl.host.host import Host
from respin.rtl.imc.depthwise import DepthwiseUnit
from respin.rtl.imc.dot import DotArray
from respin.rtl.imc.engine import Engine
from respin.rtl.learn.scales import DelayedScales
from respin.rtl.learn.update import Update
from respin.rtl.machine import Machine
from respin.rtl.mram.guard import Guard
from respin.rtl.mram.keeper import Keeper
from respin.rtl.mram.memory import MaintainedMemory
from respin.rtl.sequencer.sequencer import Sequencer
from respin.rtl.vector.gather import Gather
from respin.rtl.vector.loss import LossHead
from respin.rtl.vector.unit import VectorUnit

BISMO_LUT6_PER_BIT_MAC = 1.34
"""A BISMO dot unit of 256 lanes (1.17 * Dk + 44.1 LUTs): the dot slices with shift-accumulate may need no more."""
WEIGHT_BITS = 8


def bismo_lut6_per_bit_mac(lanes: int) -> float:
    """Return what BISMO's model gives a dot unit of the ``8 * lanes`` products of bits that one dot slice makes."""
    products = lanes * WEIGHT_BITS
    return (1.17 * products + 44.1) / products


ENGINE_LUT6_PER_BIT_MAC = 100 / 64
"""100 LUTs for each INT8 multiply-accumulate a cycle, which is 64 bit-MACs a cycle: latches, accumulators and control
included."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    """A component that stands for itself.

    Parameters
    ----------
    name:
        Its module's name in Verilog.
    title:
        What it is, in a few words.
    make:
        Builds it for a configuration.
    multiplies:
        Whether it holds the dot slices, so that its LUTs are also counted per bit-MAC.
    beside_bismo:
        Whether it does what BISMO's dot unit does.
    target:
        6-input LUTs per bit-MAC that it is to stay within where slices have all 32 lanes.
    """

    name: str
    title: str
    make: Callable[[AcceleratorConfig], Component]
    multiplies: bool = False
    beside_bismo: bool = False
    target: float | None = None

    def bit_macs_per_cycle(self, config: AcceleratorConfig) -> int | None:
        """Products of a weight's bit and a streamed bit in a cycle: ``M * P * K * 8``; None if it makes none."""
        return config.slices * config.pixels * config.lanes * WEIGHT_BITS if self.multiplies else None


def _of(component: Callable[..., Component]) -> Callable[[AcceleratorConfig], Component]:
    return lambda config: component(config=config)


def _dot_slices(config: AcceleratorConfig) -> Component:
    return DotArray(slices=config.slices, pixels=config.pixels, lanes=config.lanes, beats=config.beats)


DELIVERED = (
    Block(name="respin", title="the machine: registers, DMA, sequencer and accelerator", make=_of(Machine)),
    Block(name="respin_mram", title="SAS-MRAM macro interface, bank controller and upkeep", make=_of(MaintainedMemory)),
    Block(
        name="respin_engine",
        title="bit-serial convolution datapath",
        make=_of(Engine),
        multiplies=True,
        target=ENGINE_LUT6_PER_BIT_MAC,
    ),
    Block(name="respin_update", title="INT8 weight-gradient accumulator and update", make=_of(Update)),
)
"""What ``respin verilog`` writes: the top first, then the blocks on their own."""

_TOP, *_BLOCKS = DELIVERED

MEASURED = (
    Block(
        name="respin_dot",
        title="dot slices with shift-accumulate",
        make=_dot_slices,
        multiplies=True,
        beside_bismo=True,
        target=BISMO_LUT6_PER_BIT_MAC,
    ),
    *_BLOCKS,
    Block(name="respin_guard", title="locks and slots before the bank controller", make=_of(Guard)),
    Block(name="respin_keeper", title="keeper of regions and slots", make=_of(Keeper)),
    Block(name="respin_depthwise", title="depthwise unit", make=_of(DepthwiseUnit)),
    Block(name="respin_window", title="window addressing", make=_of(Window)),
    Block(name="respin_feeder", title="weight-gradient feeder and transposers", make=_of(GradientFeeder)),
    Block(name="respin_vector", title="vector path", make=_of(VectorUnit)),
    Block(name="respin_gather", title="gather: merge, pool, upsample and their backward", make=_of(Gather)),
    Block(name="respin_loss", title="loss head", make=_of(LossHead)),
    Block(name="respin_scales", title="delayed error scales", make=_of(DelayedScales)),
    Block(name="respin_host", title="registers, counters and DMA", make=_of(Host)),
    Block(name="respin_sequencer", title="sequencer", make=_of(Sequencer)),
    _TOP,
)
"""What ``respin bench area`` counts, the whole last."""
