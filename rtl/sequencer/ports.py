# SPDX-License-Identifier: Apache-2.0
"""The seam between the sequencer and what moves data and keeps registers for it."""

from amaranth.hdl import Value, unsigned
from amaranth.lib import data, stream
from amaranth.lib.wiring import In, Out, Signature

from respin.rtl.host.dma_ports import DmaCommand, DmaError, DmaStatus
from respin.rtl.jobs import EXPONENT, LOG2_RATE, TENSOR_ID
from respin.rtl.ports import WORD_BITS
from respin.rtl.sequencer.edges import ErrorState
from respin.rtl.sequencer.errors import ErrorCode

INDEX_BITS = 24
"""Bits of a descriptor's number."""
STEP_BITS = 20
MEMORY_WORD = data.StructLayout({"data": unsigned(WORD_BITS), "last": unsigned(1)})
"""32 bytes of external memory, the lowest address lowest; ``last`` on a command's last one."""


def gives_no_words(error: Value) -> Value:
    """Whether a command that ended with ``error`` leaves words out; with any other end all of them come."""
    return (error == DmaError.REFUSED) | (error == DmaError.TIMEOUT)


class MemoryRead(Signature):
    """A reader of external memory: for each command its words, and a status, which may overtake the last word."""

    def __init__(self) -> None:
        super().__init__({
            "command": Out(stream.Signature(DmaCommand)),
            "words": In(stream.Signature(MEMORY_WORD)),
            "status": In(stream.Signature(DmaStatus)),
        })


class MemoryWrite(Signature):
    """A writer to external memory: commands, their words, and a status once they are written."""

    def __init__(self) -> None:
        super().__init__({
            "command": Out(stream.Signature(DmaCommand)),
            "words": Out(stream.Signature(unsigned(WORD_BITS))),
            "status": In(stream.Signature(DmaStatus)),
        })


class Control(Signature):
    """What the registers tell the sequencer and it tells them.

    ``start``, ``abort``: pulses. ``blocked``: the DMA is not to be used yet, a start is refused. ``program_base``,
    ``program_count``, ``seed``, ``step``, ``log2_rate`` are taken over at ``start``. ``ready``: a program may be
    started.
    ``running``: from a start to the end of its program. ``done``, ``error``: how the last one ended; ``irq_done``,
    ``irq_error``: pulses at that. ``error_code``, ``error_index``, ``error_info``: of the last program. ``current``:
    the descriptor under way. ``descriptor_done``: pulse at the end of each, and ``ended`` is the one.
    """

    def __init__(self) -> None:
        super().__init__({
            "start": In(1),
            "abort": In(1),
            "blocked": In(1),
            "program_base": In(32),
            "program_count": In(INDEX_BITS),
            "seed": In(32),
            "step": In(STEP_BITS),
            "log2_rate": In(LOG2_RATE),
            "ready": Out(1),
            "running": Out(1),
            "done": Out(1),
            "error": Out(1),
            "irq_done": Out(1),
            "irq_error": Out(1),
            "error_code": Out(ErrorCode),
            "error_index": Out(INDEX_BITS),
            "error_info": Out(32),
            "current": Out(INDEX_BITS),
            "descriptor_done": Out(1),
            "ended": Out(INDEX_BITS),
        })


class EdgeNote(data.Struct):
    """What is noted of a tensor of errors, in the cycle with ``valid``: its new state, with ``measured`` the exponent
    with which its errors came in, and the shift that they were rounded with."""

    valid: unsigned(1)
    tensor: TENSOR_ID
    state: ErrorState
    measured: unsigned(1)
    incoming: EXPONENT
    shift: unsigned(6)
