# SPDX-License-Identifier: Apache-2.0
"""Where each group of V channels comes from and goes to: the walk of a vector job."""

from amaranth.hdl import Module, Mux, Signal, Value, unsigned
from amaranth.lib import data
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import BLOCK, PLANES, AcceleratorConfig
from respin.rtl.jobs import CHANNEL, COUNT, STORE_ADDRESS, VectorJob, VectorSource
from respin.rtl.vector.constants import PLANE_BITS, MapConstants
from respin.rtl.vector.loop import RAW_BYTES, OutputLoop, group_shape

_PIXEL_BITS = (PLANES - 1).bit_length()


def place_layout(config: AcceleratorConfig) -> data.StructLayout:
    """Where a group of V channels goes: word and group in the word; its mask word and the plane of the pixel there."""
    return data.StructLayout({
        "valid": unsigned(1),
        "word_last": unsigned(1),
        "group": group_shape(config),
        "address": STORE_ADDRESS,
        "mask_address": STORE_ADDRESS,
        "plane": unsigned(_PIXEL_BITS),
    })


def token_layout(config: AcceleratorConfig) -> data.StructLayout:
    """One group of V channels on its way: what it needs to be fetched, finished and placed.

    ``slot`` and ``group`` find it in an entry of the engine, ``row`` its constants in the table; ``byte`` is the one
    that a RAW job stores; ``channels`` are those that exist. ``word_first`` and ``place.word_last`` enclose a word,
    ``entry_last`` ends an entry.
    """
    return data.StructLayout({
        "place": place_layout(config),
        "slot": unsigned(max(1, (config.pixels - 1).bit_length())),
        "group": group_shape(config),
        "word_first": unsigned(1),
        "entry_last": unsigned(1),
        "row": COUNT,
        "byte": unsigned((RAW_BYTES - 1).bit_length()),
        "channels": unsigned(config.vector_width),
    })


class OutputWalker(Component):
    """Walks the groups of V channels of a vector job; all addresses and indices come of adding up.

    Latency: the first token comes ``MapConstants``' latency plus 3 cycles after ``start``, and a cycle later for each
    entry's width of channels that ``channel0`` skips. Throughput: a token in each cycle with ``step``.

    Parameters
    ----------
    config:
        ``vector_width``, ``slices`` and ``pixels`` count.

    Members
    -------
    job: In(VectorJob)
        Held from ``start`` on.
    start: In(1)
        Begin. Not while ``running``.
    hold: In(1)
        Do not begin with the tokens yet.
    running: Out(1)
        From the cycle after ``start`` to the last token.
    plane: Out(18), plane_ready: Out(1)
        ``map_h * w`` of a stochastic job; ``plane_ready`` is high for one cycle when it is known.
    step: In(1)
        The token is taken.
    token: Out(token_layout(config))
        The group at hand; ``place.valid`` is low if there is none.
    index: Out(32)
        Linear NCHW index of its first element in the tensor.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._config = config
        super().__init__({
            "job": In(VectorJob),
            "start": In(1),
            "hold": In(1),
            "running": Out(1),
            "plane": Out(PLANE_BITS),
            "plane_ready": Out(1),
            "step": In(1),
            "token": Out(token_layout(config)),
            "index": Out(32),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        m.submodules.loop = loop = OutputLoop(config=self._config)
        m.submodules.constants = constants = MapConstants()
        seek = Signal()
        channel = Signal(CHANNEL)
        self._live = Signal()
        m.d.comb += [
            constants.job.eq(self.job),
            constants.start.eq(self.start),
            self.plane.eq(constants.plane),
            self.plane_ready.eq(constants.plane_ready),
            loop.job.eq(self.job),
            loop.restart.eq(self.start),
            loop.step.eq(self.step & self._live),
            self.token.place.valid.eq(self._held(m, "valid", self._live)),
            self.running.eq(1),
        ]
        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += self.running.eq(0)
                with m.If(self.start):
                    m.d.sync += channel.eq(0)
                    m.next = "PREPARE"
            with m.State("PREPARE"), m.If(constants.ready):
                m.next = "SEEK"
            with m.State("SEEK"):
                # Skipping entries up to channel0 spares a multiplication by it for each distance.
                m.d.comb += seek.eq(channel < self.job.channel0)
                with m.If(~seek & ~self.hold):
                    m.next = "WALK"
            with m.State("WALK"):
                m.d.comb += self._live.eq(1)
                with m.If(loop.last & self.step):
                    m.next = "IDLE"

        pixel, image, image_index = self._pixels(m, loop, constants)
        self._words(m, loop, seek, channel, pixel + image)
        self._indices(m, loop, constants, seek, pixel + image_index)
        self._entries(m, loop)
        return m

    def _pixels(self, m: Module, loop: OutputLoop, constants: MapConstants) -> tuple[Signal, Signal, Signal]:
        """The pixel within its map, and the image's first pixel in a channel and first element in the tensor."""
        row, pixel = Signal(PLANE_BITS), Signal(PLANE_BITS)
        image, image_index = Signal(STORE_ADDRESS), Signal(32)
        next_row = Mux(loop.image_last | ~self._live, constants.origin, row + constants.row)
        with m.If(~self._live | (loop.step & loop.row_last)):
            m.d.sync += [row.eq(next_row), pixel.eq(next_row)]
        with m.Elif(loop.step & loop.pixel_last):
            m.d.sync += pixel.eq(pixel + self.job.step_x)
        with m.If(~self._live | (loop.step & loop.repeat_last)):
            m.d.sync += [image.eq(0), image_index.eq(0)]
        with m.Elif(loop.step & loop.image_last):
            m.d.sync += [image.eq(image + constants.image), image_index.eq(image_index + constants.tensor)]
        return pixel, image, image_index

    def _held(self, m: Module, name: str, value: Value) -> Signal:
        """A register between the walk and what is worked out from it, so that no two long additions meet in a cycle."""
        register = Signal(value.shape(), name=f"{name}_held")
        with m.If(self.step):
            m.d.sync += register.eq(value)
        return register

    def _width(self) -> Value:
        """Channels of an entry."""
        return Mux(self.job.source == VectorSource.ENGINE, self._config.slices, BLOCK)

    def _words(self, m: Module, loop: OutputLoop, seek: Signal, channel: Signal, pixel: Value) -> None:
        """Channels, and the addresses of the words that they are in."""
        job, token, lanes = self.job, self.token, self._config.vector_width
        base, mask_base, raw = Signal(STORE_ADDRESS), Signal(STORE_ADDRESS), Signal(STORE_ADDRESS)
        row = Signal(COUNT)
        following = channel + self._width()
        with m.If(self.start):
            m.d.sync += [base.eq(job.base), mask_base.eq(job.mask_base), row.eq(job.table >> (lanes - 1).bit_length())]
        with m.Elif(seek | (loop.step & loop.repeat_last)):
            m.d.sync += channel.eq(following)
            with m.If(following[: (BLOCK - 1).bit_length()] == 0):
                m.d.sync += [base.eq(base + job.block_stride), mask_base.eq(mask_base + job.mask_stride)]
            with m.If(~seek):
                m.d.sync += row.eq(row + (self._width() >> (lanes - 1).bit_length()))
        with m.If(loop.step & loop.group_last):
            m.d.sync += raw.eq(Mux(loop.pixel_last, 0, raw + job.raw_stride))

        first = self._held(m, "first", (channel + loop.group * lanes)[: len(channel)])
        place = self._held(m, "place", pixel[: len(base)])
        left = Signal(len(first) + 1)
        m.d.comb += [
            left.eq(Mux(first < job.channels, job.channels - first, 0)),
            token.channels.eq(Mux(left >= lanes, (1 << lanes) - 1, (1 << left[: lanes.bit_length()]) - 1)),
            token.row.eq(self._held(m, "row", row + loop.group)),
            token.place.address.eq(self._held(m, "base", (base + raw)[: len(base)]) + place),
            token.place.mask_address.eq(self._held(m, "mask_base", mask_base) + (place >> _PIXEL_BITS)),
            token.place.plane.eq(place),
            token.place.group.eq(first[(lanes - 1).bit_length() : (BLOCK - 1).bit_length()]),
        ]

    def _indices(self, m: Module, loop: OutputLoop, constants: MapConstants, seek: Signal, pixel: Value) -> None:
        """Index of the group's first element: pixel and image, plus whole channels."""
        lanes = self._config.vector_width
        entry, group = Signal(32), Signal(32)
        next_entry = Signal(32)
        engine = self.job.source == VectorSource.ENGINE
        m.d.comb += [
            next_entry.eq(entry + Mux(engine, constants.plane * self._config.slices, constants.plane * BLOCK)),
            self.index.eq(self._held(m, "pixel", pixel) + self._held(m, "group", group)),
        ]
        with m.If(self.start):
            m.d.sync += [entry.eq(self.job.index), group.eq(self.job.index)]
        with m.Elif(seek | (loop.step & loop.repeat_last)):
            m.d.sync += [entry.eq(next_entry), group.eq(next_entry)]
        with m.Elif(loop.step):
            m.d.sync += group.eq(Mux(loop.group_last, entry, group + constants.plane * lanes))

    def _entries(self, m: Module, loop: OutputLoop) -> None:
        """The place of the group in its entry: an engine's entry holds P pixels, fewer at the end of a tile."""
        token, pixels = self.token, self._config.pixels
        slot_last = Signal(init=1)
        m.d.comb += [
            token.group.eq(self._held(m, "entry_group", loop.group)),
            token.byte.eq(self._held(m, "byte", loop.byte)),
            token.word_first.eq(token.group == 0),
            token.place.word_last.eq(self._held(m, "word_last", loop.group_last)),
            token.entry_last.eq(self._held(m, "entry_last", loop.pixel_last & slot_last)),
        ]
        if pixels == 1:
            return
        slot, item = Signal(range(pixels)), Signal(COUNT)
        tile_last = (item + 1 == self.job.tile) | loop.repeat_last
        m.d.comb += [
            token.slot.eq(self._held(m, "slot", slot)),
            slot_last.eq((slot == pixels - 1) | tile_last | (self.job.source != VectorSource.ENGINE)),
        ]
        with m.If(self.start):
            m.d.sync += [slot.eq(0), item.eq(0)]
        with m.Elif(loop.step & loop.pixel_last):
            m.d.sync += [slot.eq(Mux(slot_last, 0, slot + 1)), item.eq(Mux(tile_last, 0, item + 1))]
