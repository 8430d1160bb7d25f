# SPDX-License-Identifier: Apache-2.0
"""Checks a descriptor before it has an effect."""

from collections.abc import Iterator, Sequence

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, signed
from amaranth.lib.wiring import Component, In, Out
from amaranth.utils import exact_log2

from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.interfaces import ROW_ADDRESS_BITS
from respin.rtl.jobs import CHANNEL, VectorMode
from respin.rtl.sequencer.descriptor import BUILT, DESCRIPTOR, MAGIC, VERSION, Opcode
from respin.rtl.sequencer.errors import ErrorCode, Problem
from respin.rtl.sequencer.extents import Region, job_regions
from respin.rtl.sequencer.job_rules import JobView, Rule, any_of, job_rules, zero
from respin.rtl.sequencer.scaling import scaling_rows
from respin.rtl.vector.multiplier import SerialMultiplier

ADDRESS_LOG2 = 27
"""External memory has ``2^27`` words of 32 bytes."""
WORD_LOG2 = 5
BIAS_SHIFTS = 24
"""A bias of 8 bits, shifted by less, fits its entry."""
SUM_BITS = 46
"""Enough for every product of two fields and for what is added to it."""
_MAX_BLOCKS = (1 << CHANNEL.width) // BLOCK
"""Blocks of channels that a tensor can have."""


class DescriptorCheck(Component):
    """Says what is wrong with a descriptor, if anything is.

    Conditions on the fields themselves are looked at in one cycle. The few products (extents of tensors, pixels, tiles,
    rows) pass through one serial multiplier, region by region; nothing is divided, quotients are counted up to. What
    follows from the descriptors before it is looked at too: edges are begun and ended, END comes last.

    Latency: 2 cycles for what has no products; small jobs take 20 to 70, others more by the bits of their extents and
    the blocks of channels that they walk, at most some hundreds.

    Parameters
    ----------
    config : AcceleratorConfig

    Members
    -------
    restart : In(1)
        The next descriptor is a program's first.
    row_first, row_end : In(25)
        Rows that the program may write: from the first one up to the last one, left out.
    descriptor : In(DESCRIPTOR)
        Holds from ``start`` to ``done``.
    last : In(1)
        It is the program's last.
    start : In(1)
    done : Out(1)
        The answer is there; low from the cycle after ``start``.
    error : Out(ErrorCode)
        NONE, OPCODE or FIELD.
    info : Out(8)
        What comes with it: the opcode, or the :class:`Problem`.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self.config = config
        super().__init__({
            "restart": In(1),
            "row_first": In(ROW_ADDRESS_BITS + 1),
            "row_end": In(ROW_ADDRESS_BITS + 1),
            "descriptor": In(DESCRIPTOR),
            "last": In(1),
            "start": In(1),
            "done": Out(1, init=1),
            "error": Out(ErrorCode),
            "info": Out(8),
        })

    def elaborate(self, platform: object) -> Module:
        m = Module()
        self._multiplier = SerialMultiplier(width=SUM_BITS, factor_width=16)
        m.submodules.multiplier = self._multiplier
        header = self.descriptor.header
        self._job = JobView(header.kind, self.descriptor.job, self.config)
        is_opcode = {opcode: Signal(name=f"is_{opcode.name.lower()}") for opcode in BUILT}
        m.d.comb += [flag.eq(header.opcode == opcode) for opcode, flag in is_opcode.items()]
        self._is = is_opcode
        self._open, self._open_tensor = Signal(), Signal.like(header.tensor)
        problem = self._first_problem(m)
        built = [flag for opcode, flag in is_opcode.items() if opcode is not Opcode.COMMIT or self.config.regions]
        known = (header.magic == MAGIC) & (header.version == VERSION) & Cat(built).any()
        with m.FSM():
            with m.State("Hold"):
                with m.If(self.start):
                    m.d.sync += [self.done.eq(0), self.error.eq(ErrorCode.NONE), self.info.eq(0)]
                    m.next = "Rules"
            with m.State("Rules"):
                with m.If(~known):
                    m.d.sync += [self.error.eq(ErrorCode.OPCODE), self.info.eq(header.opcode)]
                    self._finish(m)
                with m.Elif(problem != Problem.NONE):
                    self._refuse(m, problem)
                with m.Elif(is_opcode[Opcode.JOB]):
                    m.next = "Job"
                with m.Elif(is_opcode[Opcode.LOAD] | is_opcode[Opcode.STORE]):
                    self._multiply(m, self.descriptor.transfer.base_pitch, self.descriptor.transfer.rows - 1)
                    m.next = "Transfer's store words"
                with m.Else():
                    self._finish(m)
            self._transfer_states(m)
            self._job_states(m)
            with m.State("Keep"):
                self._follow(m)
                self._finish(m)
        with m.If(self.restart):
            m.d.sync += self._open.eq(0)
        return m

    # What every state does.

    def _finish(self, m: Module) -> None:
        m.d.sync += self.done.eq(1)
        m.next = "Hold"

    def _refuse(self, m: Module, problem: Problem | Value) -> None:
        m.d.sync += [self.error.eq(ErrorCode.FIELD), self.info.eq(problem), self.done.eq(1)]
        m.next = "Hold"

    def _multiply(self, m: Module, a: Value, b: Value) -> None:
        """Begin a product: the next state waits for it."""
        m.d.comb += [self._multiplier.a.eq(a), self._multiplier.b.eq(b), self._multiplier.start.eq(1)]

    # Conditions without products.

    def _first_problem(self, m: Module) -> Signal:
        """The problem of the first rule that is broken, over all opcodes."""
        problem = Signal(Problem)
        rules = [*self._header_rules(), *self._transfer_rules()]
        rules += [(self._is[Opcode.JOB] & broken, kind) for broken, kind in job_rules(self._job)]
        broken_by = {
            kind: any_of(*(broken for broken, of in rules if of is kind))
            for kind in Problem
            if any(of is kind for _, of in rules)
        }
        # The last assignment counts.
        for kind, broken in reversed(broken_by.items()):
            with m.If(broken):
                m.d.comb += problem.eq(kind)
        return problem

    def _header_rules(self) -> Iterator[Rule]:
        header, job, ids = self.descriptor.header, self._job, self.config.tensor_ids
        flags, is_job = header.flags, self._is[Opcode.JOB]
        edge = is_job & flags.edge
        measuring = job.convolution | job.depthwise | job.gather
        yield flags.reserved.any() | (~flags.wait & (flags.loads | flags.stores).any()), Problem.FLAGS
        # A job that stands alone would not know what runs beside it; of its own slot each job waits for the one before.
        transfers = self._is[Opcode.LOAD] | self._is[Opcode.TABLE] | self._is[Opcode.STORE]
        light = job.depthwise | job.gather
        joins = is_job & measuring & ~flags.edge & ~(flags.beside & Mux(light, 0b10, 0b01)).any()
        yield flags.beside.any() & ~(transfers | joins), Problem.FLAGS
        yield ~is_job & (flags.edge | flags.first | flags.last | flags.fan_in), Problem.FLAGS
        yield edge & ~(measuring & (self._job.vector.mode == VectorMode.ERROR)), Problem.FLAGS
        yield is_job & ~flags.edge & (flags.first | (flags.last & ~job.updating)), Problem.FLAGS
        yield is_job & flags.fan_in & ~(flags.edge & job.gather), Problem.FLAGS

        yield self._is[Opcode.END] != self.last, Problem.ORDER
        yield (self._is[Opcode.END] & self._open), Problem.ORDER
        # What was found of the sources of an edge holds to its last job.
        yield ~is_job & self._open & any_of(*(source.valid for source in header.sources)), Problem.ORDER
        goes_on = edge & ~flags.first
        other = header.tensor != self._open_tensor
        yield is_job & ((self._open & ~(goes_on & ~other)) | (~self._open & goes_on)), Problem.ORDER

        yield (edge | is_job & job.loss) & (header.tensor >= ids), Problem.TENSOR
        for source in header.sources:
            yield source.valid & (source.id >= ids), Problem.TENSOR
        yield edge & ~header.sources[0].valid, Problem.TENSOR
        for source, used in zip(header.sources, job.operands, strict=True):
            yield is_job & flags.fan_in & (source.valid != used), Problem.TENSOR
        update = job.update
        trained = (update.tensor >= ids) | (update.bias & (update.bias_tensor >= ids))
        yield is_job & job.updating & trained, Problem.TENSOR

    def _transfer_rules(self) -> Iterator[Rule]:
        config, body = self.config, self.descriptor
        moves = self._is[Opcode.LOAD] | self._is[Opcode.STORE]
        table, biases, rows = self._is[Opcode.TABLE], self._is[Opcode.BIASES], self._is[Opcode.ROWS]
        yield moves & zero(body.transfer.words, body.transfer.rows), Problem.COUNT
        yield (table | biases) & zero(body.table.count), Problem.COUNT
        yield rows & zero(body.rows.count), Problem.COUNT
        yield biases & (body.biases.shift > BIAS_SHIFTS), Problem.LIMIT
        yield (table | biases) & (body.table.index + body.table.count > config.table_channels), Problem.TABLE
        blocks = (body.biases.count + (BLOCK - 1)) >> exact_log2(BLOCK)
        yield biases & (body.biases.row + blocks > config.usable_rows), Problem.ROWS
        inside = (body.rows.row >= self.row_first) & (body.rows.row + body.rows.count <= self.row_end)
        yield rows & ~inside, Problem.ROWS
        yield self._is[Opcode.COMMIT] & (self.row_first == self.row_end), Problem.ROWS
        scaling, save, restore = body.scaling, self._is[Opcode.SAVE], self._is[Opcode.RESTORE]
        yield (save | restore) & (scaling.count != scaling_rows(config)), Problem.COUNT
        inside = (scaling.row >= self.row_first) & (scaling.row + scaling.count <= self.row_end)
        yield save & ~inside, Problem.ROWS
        yield restore & (scaling.row + scaling.count > config.usable_rows), Problem.ROWS
        aligned = body.table.address[:WORD_LOG2] == 0
        yield (moves | table | biases | rows) & ~aligned, Problem.EXTERNAL
        yield moves & body.transfer.pitch[:WORD_LOG2].any(), Problem.EXTERNAL
        first = body.table.address >> WORD_LOG2
        yield (table | biases) & (first + ((body.table.count + 1) >> 1) > 1 << ADDRESS_LOG2), Problem.EXTERNAL
        yield rows & (first + body.rows.count > 1 << ADDRESS_LOG2), Problem.EXTERNAL

    def _follow(self, m: Module) -> None:
        """Remember whether an edge is under way."""
        header = self.descriptor.header
        with m.If(header.flags.edge):
            m.d.sync += [self._open.eq(~header.flags.last), self._open_tensor.eq(header.tensor)]

    # LOAD and STORE.

    def _transfer_states(self, m: Module) -> None:
        body, product = self.descriptor.transfer, self._multiplier.product
        ready = ~self._multiplier.busy
        with m.State("Transfer's store words"), m.If(ready):
            self._multiply(m, body.pitch >> WORD_LOG2, body.rows - 1)
            m.next = "Transfer's addresses"
            with m.If(body.base + product + body.words > self.config.store_words):
                self._refuse(m, Problem.STORE)
        with m.State("Transfer's addresses"), m.If(ready):
            self._finish(m)
            with m.If((body.address >> WORD_LOG2) + product + body.words > 1 << ADDRESS_LOG2):
                self._refuse(m, Problem.EXTERNAL)

    # Jobs.

    def _job_states(self, m: Module) -> None:
        job, window, vector = self._job, self._job.window, self._job.vector
        product, ready = self._multiplier.product, ~self._multiplier.busy
        self._blocks = Signal(range(2 * _MAX_BLOCKS + 1))
        with m.State("Job"):
            self._multiply(m, window.oh, window.n)
            m.next = "Lines"
            with m.If(job.gather):
                self._multiply(m, vector.step_y, vector.oh - 1)
                m.next = "Last row"
            with m.If(job.loss):
                m.next = "Regions"
        with m.State("Lines"), m.If(ready):
            self._multiply(m, product, window.ow)
            m.next = "Pixels"
        with m.State("Pixels"), m.If(ready):
            self._multiply(m, window.kh, window.kw)
            m.next = "Taps"
            with m.If(~job.depthwise & (product != Mux(job.convolution, job.engine.items, job.feed.pixels))):
                self._refuse(m, Problem.AGREEMENT)
        self._window_states(m)
        self._memory_states(m)
        self._position_states(m)
        self._update_states(m)
        self._region_states(m)

    def _window_states(self, m: Module) -> None:
        """Count the blocks of channels that the window comes to: it walks ``steps`` taps from its first one on."""
        job, window = self._job, self._job.window
        product, ready = self._multiplier.product, ~self._multiplier.busy
        taps, left = Signal(8), Signal(range((1 << 16) + (1 << 8)))
        with m.State("Taps"), m.If(ready):
            m.d.sync += taps.eq(product)
            self._multiply(m, window.kw, window.ky0)
            m.next = "First tap"
            with m.If(job.depthwise & (product != window.steps)):
                self._refuse(m, Problem.AGREEMENT)
        with m.State("First tap"), m.If(ready):
            repeats = Mux(window.advance, window.repeats - 1, 0)
            m.d.sync += [left.eq(product + window.kx0 + window.steps), self._blocks.eq(window.block0 + repeats)]
            m.next = "Blocks"
        with m.State("Blocks"):
            with m.If(left <= taps):
                m.next = "Rows read"
                self._multiply(m, job.read.count, job.read.repeats)
                with m.If(job.gradient):
                    m.next = "Gradient's rows"
            with m.Elif(self._blocks >= _MAX_BLOCKS):
                self._refuse(m, Problem.STORE)
            with m.Else():
                m.d.sync += [left.eq(left - taps), self._blocks.eq(self._blocks + 1)]

    def _memory_states(self, m: Module) -> None:
        """Rows that are read, the tiles of a convolution, and which taps a depthwise pass has for a word."""
        job, vector, depthwise = self._job, self._job.vector, self._job.depthwise_job
        product, ready = self._multiplier.product, ~self._multiplier.busy
        with m.State("Rows read"), m.If(ready):
            self._multiply(m, vector.step_y, vector.oh - 1)
            m.next = "Last row"
            with m.If(job.convolution):
                self._multiply(m, job.engine.tile, job.read.tiles)
                m.next = "Tiles"
            with m.If(job.depthwise):
                self._multiply(m, depthwise.kw, job.window.kh)
                m.next = "Depthwise rows"
            with m.If(job.read.base + product > self.config.usable_rows):
                self._refuse(m, Problem.ROWS)
        with m.State("Depthwise rows"), m.If(ready):
            self._multiply(m, depthwise.taps, job.window.kw)
            m.next = "Depthwise words"
            with m.If(product != job.read.count):
                self._refuse(m, Problem.AGREEMENT)
        with m.State("Depthwise words"), m.If(ready):
            self._multiply(m, vector.step_y, vector.oh - 1)
            m.next = "Last row"
            # Each tap of a kernel row has a word, and each word a tap (of strided ones job_rules.py says so).
            needless = ~depthwise.strided & (product >= depthwise.kw + depthwise.taps)
            with m.If((product < depthwise.kw) | needless):
                self._refuse(m, Problem.AGREEMENT)
        with m.State("Tiles"), m.If(ready):
            self._multiply(m, vector.step_y, vector.oh - 1)
            m.next = "Last row"
            with m.If((product < job.engine.items) | (product >= job.engine.items + job.engine.tile)):
                self._refuse(m, Problem.AGREEMENT)

    def _position_states(self, m: Module) -> None:
        """The last output of a vector job lies in its map."""
        vector = self._job.vector
        product, ready = self._multiplier.product, ~self._multiplier.busy
        with m.State("Last row"), m.If(ready):
            self._multiply(m, vector.step_x, vector.ow - 1)
            m.next = "Last column"
            with m.If(product + vector.y0 >= vector.h):
                self._refuse(m, Problem.STORE)
        with m.State("Last column"), m.If(ready):
            m.next = "Regions"
            with m.If(product + vector.x0 >= vector.w):
                self._refuse(m, Problem.STORE)

    def _update_states(self, m: Module) -> None:
        """Rows that an update writes: see :class:`respin.rtl.jobs.UpdateJob`, ``TileRows`` and ``IndexWalk``.

        A row of the weight image is one output's, all of which are there. A row of the transposed one is one input's,
        and is written only if the input is one of an output's group: lines past those are walked and skipped. So the
        last row follows from the last group that the job's outputs belong to.
        """
        job, update, slices = self._job, self._job.update, self.config.slices
        product, ready = self._multiplier.product, ~self._multiplier.busy
        first, end = self.row_first, self.row_end
        left, group, outputs = Signal(17), Signal(CHANNEL.width + 1), Signal(CHANNEL.width + 1)
        blocks = Signal(range(_MAX_BLOCKS + 1))
        inputs = Signal(SUM_BITS)
        lines = blocks << exact_log2(BLOCK)
        outside = any_of(
            update.base < first,
            update.base + update.steps * slices > end,
            update.bias & ((update.bias_base < first) | (update.bias_base >= end)),
        )
        lowest = Signal(signed(ROW_ADDRESS_BITS + 8))  # the block's last tap: taps lie in falling order
        existing = Signal(signed(CHANNEL.width + 1))
        m.d.comb += [
            lowest.eq(update.transposed_base + update.tap0 * slices - (update.taps - 1) * slices),
            existing.eq(update.outputs - update.o0),
        ]
        with m.State("Gradient's rows"):
            m.d.sync += [
                left.eq(update.tap0 + update.steps),
                blocks.eq(1),
                group.eq(update.o_group),
                outputs.eq(update.o_offset + Mux(existing > slices, slices, existing)),
            ]
            m.next = "Blocks of inputs"
            with m.If(job.raw):
                self._multiply(m, job.vector.step_y, job.vector.oh - 1)
                m.next = "Last row"
            with m.Elif(outside | update.transposed & (lowest < first)):
                self._refuse(m, Problem.ROWS)
            with m.Elif(~update.transposed | (existing <= 0)):
                m.next = "Regions"
        with m.State("Blocks of inputs"):
            with m.If(update.k_group + lines > 1 << CHANNEL.width):
                self._refuse(m, Problem.LIMIT)
            with m.Elif(left <= update.taps):
                m.next = "Groups of outputs"
            with m.Else():
                m.d.sync += [left.eq(left - update.taps), blocks.eq(blocks + 1)]
        with m.State("Groups of outputs"):
            with m.If(outputs > update.group_out):
                m.d.sync += [outputs.eq(outputs - update.group_out), group.eq(group + 1)]
            with m.Elif(group < update.k_group):
                m.next = "Regions"
            with m.Else():
                self._multiply(m, update.group_in, group - update.k_group + 1)
                m.next = "Inputs"
        with m.State("Inputs"), m.If(ready):
            # There is at least one: the offset in a group is less than the group.
            m.d.comb += inputs.eq(Mux(product - update.k_offset > lines, lines, product - update.k_offset))
            self._multiply(m, update.transposed_stride, (inputs - 1) >> exact_log2(slices))
            m.next = "Transposed rows"
        with m.State("Transposed rows"), m.If(ready):
            m.next = "Regions"
            with m.If(lowest + product + update.taps * slices > end):
                self._refuse(m, Problem.ROWS)

    def _region_states(self, m: Module) -> None:
        """Every region ends within the store."""
        regions = list(job_regions(self._job, self._blocks))
        product, ready = self._multiplier.product, ~self._multiplier.busy
        number = Signal(range(len(regions) + 1))
        words = Signal(SUM_BITS)
        picked = _pick(number, regions)
        with m.State("Regions"):
            m.d.sync += number.eq(number + 1)
            self._multiply(m, picked["h"], picked["n"])
            with m.If(number == len(regions)):
                m.d.sync += number.eq(0)
                m.next = "Keep"
            with m.Elif(picked["used"]):
                m.d.sync += number.eq(number)
                m.next = "Region's lines"
        with m.State("Region's lines"), m.If(ready):
            self._multiply(m, product, picked["w"])
            m.next = "Region's words"
        with m.State("Region's words"), m.If(ready):
            m.d.sync += words.eq(Mux(picked["mask"], (product + 7) >> 3, product))
            self._multiply(m, picked["stride"], picked["blocks"])
            m.next = "Region's end"
        with m.State("Region's end"), m.If(ready):
            m.d.sync += number.eq(number + 1)
            m.next = "Regions"
            with m.If(picked["base"] + picked["extra"] + words + product > self.config.store_words):
                m.d.sync += number.eq(0)
                self._refuse(m, Problem.STORE)


def _pick(number: Value, regions: Sequence[Region]) -> dict[str, Value]:
    """The fields of region ``number``."""
    names = ("used", "base", "stride", "blocks", "n", "h", "w", "mask", "extra")
    return {name: Array(Value.cast(getattr(region, name)) for region in regions)[number] for name in names}
