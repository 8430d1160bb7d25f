# SPDX-License-Identifier: Apache-2.0
"""A row is four codewords interleaved over its columns: column ``4i + c`` holds bit ``i`` of codeword ``c``.

A strip is four neighbouring columns, so a dead strip costs each codeword one bit, which SECDED repairs.
"""

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from respin.rtl.config import ROW_COLUMNS, AcceleratorConfig
from respin.rtl.mram.gray import from_gray
from respin.rtl.mram.ports import ReadRow
from respin.rtl.mram.secded import CODEWORD_BITS, DATA_BITS, SecdedDecoder, SecdedSyndrome

CODEWORDS = ROW_COLUMNS // CODEWORD_BITS


def codewords(columns: Value) -> list[Value]:
    """Return the four codewords of a raw row."""
    return [columns[c::CODEWORDS] for c in range(CODEWORDS)]


def interleave(words: list[Value]) -> Value:
    """Return the 288 columns that hold four codewords."""
    return Cat(word[i] for i in range(CODEWORD_BITS) for word in words)


class RowDecoder(wiring.Component):
    """Decodes raw rows with ``ecc_decoders`` SECDED decoders that take their turns on a row's codewords.

    A row is taken in ``4 / ecc_decoders`` cycles in which ``valid`` is high and the output register is free; it
    appears in ``rows`` in the cycle after the last of them. Throughput: one row each ``4 / ecc_decoders`` cycles.
    Codewords are corrected in the cycle after the one in which they are looked at.

    Parameters
    ----------
    config : AcceleratorConfig
        ``ecc_decoders`` and ``gray_code`` are used.

    Members
    -------
    columns : In(288)
        The raw row; it must not change from the first cycle of its decoding to ``done``.
    valid : In(1)
        ``columns`` holds a row to decode. May fall while a row is being decoded: its decoding pauses.
    free : Out(1)
        The decoder is in the middle of a row or has room for the next one.
    done : Out(1)
        The last codewords of the row are decoded in this cycle.
    corrected : Out(3)
        Codewords corrected in this cycle, of those looked at in the one before.
    uncorrectable : Out(3)
        Codewords found beyond correction, likewise.
    rows : Out(stream.Signature(ReadRow))
        Decoded rows.
    mended : Out(1)
        A codeword of the row in ``rows`` was corrected.

    Raises
    ------
    TypeError
        If ``config`` is not an :class:`AcceleratorConfig`.
    """

    def __init__(self, *, config: AcceleratorConfig) -> None:
        if not isinstance(config, AcceleratorConfig):
            raise TypeError(f"config must be an AcceleratorConfig, not {config!r}")
        self._decoders = config.ecc_decoders
        self._gray = config.gray_code
        self._steps = CODEWORDS // config.ecc_decoders
        super().__init__(
            {
                "columns": In(ROW_COLUMNS),
                "valid": In(1),
                "free": Out(1),
                "done": Out(1),
                "corrected": Out(range(CODEWORDS + 1)),
                "uncorrectable": Out(range(CODEWORDS + 1)),
                "rows": Out(stream.Signature(ReadRow)),
                "mended": Out(1),
            }
        )

    @property
    def latency(self) -> int:
        """Cycles from a raw row to its decoded one."""
        return self._steps

    def elaborate(self, platform) -> Module:
        m = Module()
        words = codewords(self.columns)
        # The group of codewords that is looked at, and the one that was looked at last.
        step, group = Signal(range(max(2, self._steps))), Signal(range(max(2, self._steps)))
        first = step == 0
        read = Signal(data.ArrayLayout(unsigned(self._decoders * DATA_BITS), self._steps))
        advance, late, flagged, mended = Signal(), Signal(), Signal(), Signal()

        # From a bank to the syndromes in one cycle, on to the wrong bit in the next.
        decoders, syndromes, raw = [], [], []
        for d in range(self._decoders):
            m.submodules[f"syndrome{d}"] = look = SecdedSyndrome()
            m.submodules[f"decoder{d}"] = decoder = SecdedDecoder()
            syndrome = Signal.like(look.syndrome, name=f"syndrome_{d}")
            m.d.comb += [
                look.word.eq(Array(words[d :: self._decoders])[step]),
                decoder.read.eq(read[group].word_select(d, DATA_BITS)),
                decoder.syndrome.eq(syndrome),
            ]
            decoders.append(decoder)
            syndromes.append(syndrome.eq(look.syndrome))
            raw.append(look.word[:DATA_BITS])
        corrected = Cat(decoder.data for decoder in decoders)
        uncorrectable = Cat(decoder.uncorrectable for decoder in decoders)
        correctable = Cat(decoder.corrected for decoder in decoders)

        # A row that is offered ends with the group read last.
        row = Cat(*(read[number] for number in range(self._steps - 1)), corrected)
        m.d.comb += [
            self.rows.payload.data.as_value().eq(from_gray(row) if self._gray else row),
            self.rows.payload.uncorrectable.eq(flagged | uncorrectable.any()),
            self.mended.eq(mended | correctable.any()),
            self.free.eq(~first | ~self.rows.valid | self.rows.ready),
            advance.eq(self.valid & self.free),
            self.done.eq(advance & (step == self._steps - 1)),
        ]
        m.d.sync += late.eq(advance)
        with m.If(self.rows.ready):
            m.d.sync += self.rows.valid.eq(0)
        with m.If(advance):
            m.d.sync += [
                read[step].eq(Cat(raw)),
                *syndromes,
                group.eq(step),
                step.eq(Mux(self.done, 0, step + 1)),
                self.rows.valid.eq(self.done),
            ]
        with m.If(late):
            m.d.comb += [self.corrected.eq(sum(correctable)), self.uncorrectable.eq(sum(uncorrectable))]
        if self._steps > 1:
            with m.If(late & (group != self._steps - 1)):
                m.d.sync += [
                    read[group].eq(corrected),
                    flagged.eq((flagged & (group != 0)) | uncorrectable.any()),
                    mended.eq((mended & (group != 0)) | correctable.any()),
                ]
        return m
