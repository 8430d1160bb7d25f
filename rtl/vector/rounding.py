# SPDX-License-Identifier: Apache-2.0
"""Random numbers for the elements of V consecutive channels of a pixel."""

from amaranth.hdl import Module, Signal, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import AcceleratorConfig
from respin.rtl.learn.random import RandomLanes
from respin.rtl.vector.constants import PLANE_BITS


class ElementRandom(Component):
    """The random numbers of elements ``index``, ``index + plane``, ``index + 2*plane`` ... of an NCHW tensor.

    After ``load`` the multiples of ``plane`` are added up, one a cycle, beside the key expansion.

    Latency: ``latency`` cycles with ``en``. Throughput: V numbers a cycle.

    Parameters
    ----------
    config:
        ``vector_width`` lanes.

    Members
    -------
    key: In(64)
        ``Cat(seed, step, tensor)``.
    plane: In(18)
        Elements of one channel: ``h * w``.
    load: In(1)
        Take ``key`` and ``plane``. Nothing may be under way.
    ready: Out(1)
        Both are prepared.
    en: In(1)
        Advance the pipeline.
    index: In(32)
        Element of the first channel.
    random: Out(ArrayLayout(unsigned(16), V))

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._lanes = config.vector_width
        self._random = RandomLanes(lanes=self._lanes)
        super().__init__({
            "key": In(64),
            "plane": In(PLANE_BITS),
            "load": In(1),
            "ready": Out(1),
            "en": In(1),
            "index": In(32),
            "random": Out(data.ArrayLayout(unsigned(16), self._lanes)),
        })

    @property
    def latency(self) -> int:
        """Enabled cycles from ``index`` to ``random``."""
        return self._random.latency + 2

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.random = lanes = self._random
        m.d.comb += [
            lanes.key.eq(self.key),
            lanes.load.eq(self.load),
            lanes.en.eq(self.en),
            self.random.eq(lanes.random),
        ]

        # The multiples enter at the top and move down, so that one adder makes them all.
        width = PLANE_BITS + (self._lanes - 1).bit_length()
        multiples = [Signal(width, name=f"multiple_{lane}") for lane in range(self._lanes)]
        missing = Signal(range(self._lanes + 1))
        total = Signal(width)
        m.d.comb += self.ready.eq(lanes.ready & (missing == 0))
        with m.If(self.load):
            m.d.sync += [missing.eq(self._lanes), total.eq(0)]
        with m.Elif(missing != 0):
            m.d.sync += [missing.eq(missing - 1), total.eq(total + self.plane)]
            m.d.sync += [low.eq(high) for low, high in zip(multiples, [*multiples[1:], total], strict=True)]

        first = Signal(32)
        indices = Signal(lanes.index.shape())
        m.d.comb += lanes.index.eq(indices)
        with m.If(self.en):
            m.d.sync += first.eq(self.index)
            m.d.sync += [index.eq(first + multiple) for index, multiple in zip(indices, multiples, strict=True)]
        return m
