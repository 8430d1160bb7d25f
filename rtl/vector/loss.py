# SPDX-License-Identifier: Apache-2.0
"""Softmax cross-entropy in integers: logits in the store become errors in the store."""

from collections.abc import Callable

from amaranth.hdl import Array, Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import enum, stream
from amaranth.lib.wiring import Component, In, Out

from respin.rtl.config import BLOCK, AcceleratorConfig
from respin.rtl.interfaces import WORD, StoreRead, StoreWrite
from respin.rtl.jobs import CHANNEL, STORE_ADDRESS, TENSOR_ID, LossJob
from respin.rtl.learn.random import RandomLanes
from respin.rtl.vector.divider import Divider

FRACTION_BITS = 15
"""Probabilities and powers are in units of 2^-15."""
OCTAVE_BITS = 12
TABLE_BITS = 5
POWERS = tuple(round((1 << FRACTION_BITS) * 2.0 ** (-f / (1 << TABLE_BITS))) for f in range(1 << TABLE_BITS))
"""2^(-f/32) in Q15."""
MAX_CLASSES = 1024
_POWER_BITS = FRACTION_BITS + 1
_SUM_BITS = _POWER_BITS + (MAX_CLASSES - 1).bit_length()
_BLOCK_BITS = (BLOCK - 1).bit_length()


class _Turn(enum.Enum):
    """What the logits of an image are read for."""

    MAXIMUM = 0
    SUM = 1
    ERROR = 2


class LossHead(Component):
    """Errors of softmax cross-entropy at the logits of a batch.

    For each image, with ``d_i = max(z) - z_i`` and ``q_i = d_i * alpha``: ``e_i = T[(q_i >> 7) & 31] >> (q_i >> 12)``
    (0 past 15 octaves), ``prob_i = (e_i << 15) // Σ e``, and the error is ``((prob_i - target_i) * 127 + r) >> 15``
    with the target ``on`` at the label and ``off`` elsewhere (both at most 2^15), ``r = 2^14`` or a random number's
    upper 15 bits, index ``image * classes + i``. Lanes past the classes are written as 0.

    The logits are read three times, for their maximum, for the sum and for the errors, so that none has to be kept. A
    job is accepted (``job.ready``) when its last word is in the store; until then it must be offered.

    Latency and throughput: 3, 6 and 39 cycles a class in the three turns, and 3 for each image and each word written,
    if the store does not wait; 14 for the key of the random numbers.

    Parameters
    ----------
    config:
        The accelerator.

    Members
    -------
    job: In(stream(LossJob))
        What to do; 1 to 1024 classes.
    seed, step, tensor: In(32), In(20), In(12)
        Key of the random numbers; hold with the job.
    read: Out(StoreRead), write: Out(StoreWrite)
        Store ports.
    done: Out(1)
        The job ends in this cycle.

    Raises
    ------
    TypeError
        If ``config`` is not an AcceleratorConfig.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        super().__init__({
            "job": In(stream.Signature(LossJob)),
            "seed": In(32),
            "step": In(20),
            "tensor": In(TENSOR_ID),
            "read": Out(StoreRead()),
            "write": Out(StoreWrite(config)),
            "done": Out(1),
        })

    def elaborate(self, platform) -> Module:
        m = Module()
        job = self.job.payload
        turn, image, number = Signal(_Turn), Signal(8), Signal(CHANNEL)
        class_last = number + 1 == job.classes
        block_last = number[:_BLOCK_BITS] == BLOCK - 1
        image_last = image + 1 == job.n
        m.submodules.random = random = RandomLanes(lanes=1)
        m.submodules.divider = divider = Divider(dividend_bits=_POWER_BITS + FRACTION_BITS, divisor_bits=_SUM_BITS)

        with m.FSM() as fsm:
            with m.State("IDLE"), m.If(self.job.valid):
                m.next = "EXPAND KEY"
            with m.State("EXPAND KEY"), m.If(random.ready | ~job.stochastic):
                m.next = "ASK LABEL"
            with m.State("ASK LABEL"), m.If(self.read.ready):
                m.next = "TAKE LABEL"
            with m.State("TAKE LABEL"):
                m.next = "ASK LOGIT"
            with m.State("ASK LOGIT"), m.If(self.read.ready):
                m.next = "TAKE LOGIT"
            with m.State("TAKE LOGIT"):
                m.next = "COMPARE"
            with m.State("COMPARE"):
                m.next = "ASK LOGIT"
                with m.If(turn != _Turn.MAXIMUM):
                    m.next = "WEIGH"
            with m.State("WEIGH"):
                m.next = "RAISE"
            with m.State("RAISE"):
                m.next = "ADD"
            with m.State("ADD"):
                m.next = "ASK LOGIT"
                with m.If(turn == _Turn.ERROR):
                    m.next = "DIVIDE"
            with m.State("DIVIDE"), m.If(divider.ready):
                m.next = "ROUND"
            with m.State("ROUND"):
                m.next = "ASK LOGIT"
                with m.If(class_last):
                    m.next = "PAD"
                with m.If(block_last):
                    m.next = "WRITE"
            with m.State("PAD"), m.If(block_last):
                m.next = "WRITE"
            with m.State("WRITE"), m.If(self.write.ready):
                m.next = "ASK LOGIT"
                with m.If(number >= job.classes):
                    m.next = "ASK LABEL"
                    with m.If(image_last):
                        m.next = "IDLE"

        at = fsm.ongoing
        restart = Signal()
        written = at("WRITE") & self.write.ready
        follow = Signal()
        m.d.comb += [
            follow.eq((at("COMPARE") & (turn == _Turn.MAXIMUM)) | (at("ADD") & (turn == _Turn.SUM))),
            # The classes begin again: for another turn, for another image, or at the start.
            restart.eq((follow & class_last) | (written & (number >= job.classes)) | at("IDLE")),
            self.job.ready.eq(written & (number >= job.classes) & image_last),
            self.done.eq(self.job.ready),
        ]
        with m.If(restart):
            m.d.sync += number.eq(0)
        with m.Elif(follow | at("ROUND") | at("PAD")):
            m.d.sync += number.eq(number + 1)
        with m.If(at("TAKE LABEL")):
            m.d.sync += turn.eq(_Turn.MAXIMUM)
        with m.Elif(follow & class_last):
            m.d.sync += turn.eq(Mux(turn == _Turn.MAXIMUM, _Turn.SUM, _Turn.ERROR))
        with m.If(at("IDLE")):
            m.d.sync += image.eq(0)
        with m.Elif(restart & written):
            m.d.sync += image.eq(image + 1)

        self._store(m, at, image, number, restart, follow & block_last, written)
        difference = self._difference(m, at, turn, number, divider)
        error = self._rounded(m, at, random, difference)
        self._shift_in(m, at("ROUND") | at("PAD"), Mux(at("ROUND"), error, 0))
        return m

    def _octet(self, lane: Value) -> Value:
        return Cat(plane.bit_select(lane, 1) for plane in self.read.data)

    def _store(
        self, m: Module, at: Callable, image: Signal, number: Signal, restart: Signal, block_read: Value, written: Value
    ) -> None:
        """Addresses: those of a block of classes move on with it."""
        job = self.job.payload
        base, out = Signal(STORE_ADDRESS), Signal(STORE_ADDRESS)
        with m.If(restart):
            m.d.sync += [base.eq(job.base), out.eq(job.out)]
        with m.Elif(block_read | written):
            m.d.sync += base.eq(base + job.block_stride)
            with m.If(written):
                m.d.sync += out.eq(out + job.out_stride)
        m.d.comb += [
            self.read.valid.eq(at("ASK LABEL") | at("ASK LOGIT")),
            self.read.addr.eq(Mux(at("ASK LABEL"), job.labels, base) + image),
            self.write.valid.eq(at("WRITE")),
            self.write.addr.eq(out + image),
            self.write.planes.eq(~0),
            self.write.groups.eq(~0),
        ]

    def _difference(self, m: Module, at: Callable, turn: Signal, number: Signal, divider: Divider) -> Signal:
        """Probability minus target, after the state DIVIDE."""
        job = self.job.payload
        label = Signal(16)
        logit, maximum = Signal(signed(8)), Signal(signed(8))
        distance = Signal(8)
        exponent, power, total = Signal(24), Signal(_POWER_BITS), Signal(_SUM_BITS)
        difference = Signal(signed(_POWER_BITS + 1))
        octaves = exponent[OCTAVE_BITS:]
        table = Array(Const(value, _POWER_BITS) for value in POWERS)
        entry = table[exponent[OCTAVE_BITS - TABLE_BITS : OCTAVE_BITS]]
        m.d.comb += [
            divider.dividend.eq(power << FRACTION_BITS),
            divider.divisor.eq(total),
            divider.start.eq(at("ADD") & (turn == _Turn.ERROR)),
        ]
        with m.If(at("TAKE LABEL")):
            m.d.sync += [label.eq(Cat(self._octet(0), self._octet(1))), maximum.eq(-128), total.eq(0)]
        with m.If(at("TAKE LOGIT")):
            m.d.sync += logit.eq(self._octet(number[:_BLOCK_BITS]))
        with m.If(at("COMPARE")):
            m.d.sync += distance.eq(maximum - logit)
            with m.If((turn == _Turn.MAXIMUM) & (logit > maximum)):
                m.d.sync += maximum.eq(logit)
        with m.If(at("WEIGH")):
            m.d.sync += exponent.eq(distance * job.alpha)
        with m.If(at("RAISE")):
            m.d.sync += power.eq(Mux(octaves > FRACTION_BITS, 0, entry >> octaves[:4]))
        with m.If(at("ADD") & (turn == _Turn.SUM)):
            m.d.sync += total.eq(total + power)
        with m.If(at("DIVIDE")):
            target = Mux(number == label, job.on, job.off)
            m.d.sync += difference.eq(divider.quotient[:_POWER_BITS] - target)
        return difference

    def _rounded(self, m: Module, at: Callable, random: RandomLanes, difference: Signal) -> Value:
        """The error; a random number has been ready long before its element is."""
        job = self.job.payload
        index = Signal(32)
        with m.If(at("IDLE")):
            m.d.sync += index.eq(0)
        with m.Elif(at("ROUND")):
            m.d.sync += index.eq(index + 1)
        m.d.comb += [
            random.key.eq(Cat(self.seed, self.step, self.tensor)),
            random.load.eq(at("IDLE") & self.job.valid & job.stochastic),
            random.en.eq(1),
            random.index[0].eq(index),
        ]
        draw = Mux(job.stochastic, random.random[0][1:], 1 << (FRACTION_BITS - 1))
        return (((difference << 7) - difference + draw) >> FRACTION_BITS)[:8]

    def _shift_in(self, m: Module, shift: Value, octet: Value) -> None:
        """A word fills from the top, so that its first lane ends up as lane 0."""
        word = Signal(WORD)
        with m.If(shift):
            m.d.sync += [plane.eq(Cat(plane[1:], octet[b])) for b, plane in enumerate(word)]
        m.d.comb += self.write.data.eq(word)
