# SPDX-License-Identifier: Apache-2.0
"""Descriptors and the header of a program, bit for bit (docs/sequencer.md). Numbers are little-endian."""

from amaranth.hdl import Shape, signed, unsigned
from amaranth.lib import data, enum

from respin.rtl.jobs import GATHER_SOURCES, Job

DESCRIPTOR_BYTES = 256
DESCRIPTOR_BITS = 8 * DESCRIPTOR_BYTES
CRC_BITS = 32
"""The last 32 bits of a descriptor, and of a program's header, are the CRC-32 of the bits before them."""
HEADER_BITS = 160
"""A descriptor's body follows its header."""

MAGIC = int.from_bytes(b"RD", "little")
PROGRAM_MAGIC = int.from_bytes(b"RPRG", "little")
VERSION = 2
"""Version of the format of descriptors and of programs."""
WAIT_COUNT = unsigned(3)
"""How many transfers a descriptor that waits lets go on."""

_NOT_IN_BODY = ("kind", "seed", "step", "tensor", "scaled", "rebase", "settle", "log2_rate", "exponent")
"""Fields of a job that the sequencer fills in, from the descriptor's header, its registers and what it has measured."""
JOB_PARTS = data.StructLayout({name: field.shape for name, field in Job.as_shape() if name not in _NOT_IN_BODY})
"""The jobs of the units, as they lie in a :class:`respin.rtl.jobs.Job`."""


class Opcode(enum.Enum, shape=unsigned(8)):
    """What a descriptor asks for. Numbers from 16 on are kept for what is not built yet and refused."""

    END = 1
    """The program ends here; the last descriptor, and no other."""
    JOB = 2
    """A pass through the units: :class:`respin.rtl.jobs.Job`."""
    LOAD = 3
    """Words from external memory into the store."""
    STORE = 4
    """Words from the store into external memory."""
    TABLE = 5
    """Entries from external memory into the vector path's table."""
    BIASES = 6
    """Trained biases out of MRAM, added to entries from external memory, into the vector path's table."""
    ROWS = 7
    """Rows from external memory into MRAM: differential, verified writes."""
    BARRIER = 8
    """Wait until all transfers have ended."""
    COMMIT = 9
    """Make the working slot of MRAM the active task's state (docs/memory.md)."""
    SAVE = 10
    """What training has measured of all tensors, into MRAM rows: differential, verified writes."""
    RESTORE = 11
    """What a SAVE has left there, back into the tables."""
    MUL = 16
    """Kept for element-wise products."""
    LUT256 = 17
    """Kept for functions of a byte, and their derivatives."""
    DOT = 18
    """Kept for the product of two tensors of the store."""
    DEPTHWISE_GRADIENT = 19
    """Kept for the weight gradient of a depthwise convolution."""
    LATCHES = 20
    """Kept for passes whose latches are loaded from the store."""
    PREDICATE = 21
    """Kept for descriptors that are skipped by a condition."""


BUILT = (
    Opcode.END, Opcode.JOB, Opcode.LOAD, Opcode.STORE, Opcode.TABLE, Opcode.BIASES, Opcode.ROWS, Opcode.BARRIER,
    Opcode.COMMIT, Opcode.SAVE, Opcode.RESTORE,
)  # fmt: skip
"""Opcodes that run; the others are refused."""


class Flags(data.Struct):
    """How a descriptor is run.

    ``wait``: not before all LOAD and TABLE but the last ``loads`` have ended, and all STORE but the last ``stores``, of
    those before it. ``edge``: a JOB of a backward edge, whose errors get the delayed scale of its tensor. ``first``,
    ``last``: the first and the last JOB of an edge; ``last`` alone also marks the last tile of a layer's gradient.
    ``fan_in``: the sequencer aligns the operands of a GATHER by their exponents; operand ``j`` is source ``j``.
    ``beside``: it need not wait for the job under way in the dense (bit 0), the light slot (bit 1).
    """

    wait: unsigned(1)
    edge: unsigned(1)
    first: unsigned(1)
    last: unsigned(1)
    fan_in: unsigned(1)
    loads: WAIT_COUNT
    stores: WAIT_COUNT
    beside: unsigned(2)
    reserved: unsigned(3)


class SourceId(data.Struct):
    """A tensor of errors that a descriptor starts from, if ``valid``."""

    id: unsigned(15)
    valid: unsigned(1)


class Header(data.Struct):
    """The first 20 bytes of a descriptor.

    ``tensor``: id of the tensor of errors that a JOB puts out. ``fraction``: what the multipliers of an edge take off
    its exponent. ``rate_shift``: the layer's learning rate is the network's times ``2^rate_shift``, but 1 at most.
    ``kind``: of a JOB its :class:`respin.rtl.jobs.Pass`.
    """

    magic: unsigned(16)
    version: unsigned(8)
    opcode: Opcode
    flags: Flags
    fraction: signed(8)
    rate_shift: signed(8)
    tensor: unsigned(16)
    sources: data.ArrayLayout(SourceId, GATHER_SOURCES)
    kind: unsigned(8)
    reserved: unsigned(8)


class TransferBody(data.Struct):
    """Body of LOAD and STORE: ``for r in rows: words`` words between external memory at ``address + r * pitch`` and the
    store at ``base + r * base_pitch``. ``address`` and ``pitch`` are multiples of 32 bytes."""

    address: unsigned(32)
    pitch: unsigned(32)
    base: unsigned(32)
    base_pitch: unsigned(32)
    words: unsigned(16)
    rows: unsigned(16)


class TableBody(data.Struct):
    """Body of TABLE: ``count`` entries of 16 bytes, of which the low 72 bits count, from ``address`` (a multiple of 32)
    into the table from ``index`` on."""

    address: unsigned(32)
    index: unsigned(16)
    count: unsigned(16)


class BiasesBody(data.Struct):
    """Body of BIASES: as TABLE; to the bias of entry ``i`` is added weight ``i % 32`` of row ``row + i // 32``, times
    ``2^shift``."""

    address: unsigned(32)
    index: unsigned(16)
    count: unsigned(16)
    row: unsigned(32)
    shift: unsigned(8)


class RowsBody(data.Struct):
    """Body of ROWS: ``count`` rows of 32 bytes from ``address`` (a multiple of 32) into MRAM from row ``row`` on."""

    address: unsigned(32)
    row: unsigned(32)
    count: unsigned(32)


class ScalingBody(data.Struct):
    """Body of SAVE and RESTORE: the ``count`` rows from ``row`` on, a quarter of the tensor ids."""

    row: unsigned(32)
    count: unsigned(32)


DESCRIPTOR = data.FlexibleLayout(DESCRIPTOR_BITS, {
    "header": data.Field(Header, 0),
    "job": data.Field(JOB_PARTS, HEADER_BITS),
    "transfer": data.Field(TransferBody, HEADER_BITS),
    "table": data.Field(TableBody, HEADER_BITS),
    "biases": data.Field(BiasesBody, HEADER_BITS),
    "rows": data.Field(RowsBody, HEADER_BITS),
    "scaling": data.Field(ScalingBody, HEADER_BITS),
    "crc": data.Field(unsigned(CRC_BITS), DESCRIPTOR_BITS - CRC_BITS),
})
"""A descriptor; which body it has follows from its opcode. Bits between body and CRC are ignored."""

BODIES = {
    Opcode.JOB: "job",
    Opcode.LOAD: "transfer",
    Opcode.STORE: "transfer",
    Opcode.TABLE: "table",
    Opcode.BIASES: "biases",
    Opcode.ROWS: "rows",
    Opcode.SAVE: "scaling",
    Opcode.RESTORE: "scaling",
}
"""Names of the bodies, by opcode; the other opcodes have none."""

assert Shape.cast(Header).width == HEADER_BITS
assert HEADER_BITS + Shape.cast(JOB_PARTS).width <= DESCRIPTOR_BITS - CRC_BITS


class ProgramInfo(data.Struct):
    """The first 32 bytes of a program's header.

    ``count``: descriptors, which follow the header. ``lanes`` to ``ids_log2``: what it was compiled for. ``row_first``,
    ``row_count``: the MRAM rows that it may write. ``checksum``: the CRC-32 of the descriptors' CRCs, one after the
    other. (A CRC of the descriptors themselves would say nothing: after a run of bits that ends with its own CRC the
    register does not depend on them.)
    """

    magic: unsigned(32)
    version: unsigned(16)
    reserved: unsigned(16)
    count: unsigned(32)
    lanes: unsigned(8)
    slices: unsigned(8)
    pixels: unsigned(8)
    vector_width: unsigned(8)
    store_log2: unsigned(8)
    rows_log2: unsigned(8)
    table_log2: unsigned(8)
    ids_log2: unsigned(8)
    row_first: unsigned(32)
    row_count: unsigned(32)
    checksum: unsigned(32)


PROGRAM_HEADER = data.FlexibleLayout(DESCRIPTOR_BITS, {
    "info": data.Field(ProgramInfo, 0),
    "crc": data.Field(unsigned(CRC_BITS), DESCRIPTOR_BITS - CRC_BITS),
})
"""The header of a program: as long as a descriptor, with a CRC in the same place."""
