# SPDX-License-Identifier: Apache-2.0
"""Whether a program's header is one for this machine."""

from amaranth.hdl import Const, Mux, Value
from amaranth.lib import data
from amaranth.utils import ceil_log2, exact_log2

from respin.rtl.config import AcceleratorConfig
from respin.rtl.sequencer.descriptor import DESCRIPTOR_BYTES, PROGRAM_MAGIC, VERSION
from respin.rtl.sequencer.errors import HeaderProblem

_BLOCK_LOG2 = exact_log2(DESCRIPTOR_BYTES)


def compiled_for(config: AcceleratorConfig) -> dict[str, int]:
    """Return the fields of a :class:`ProgramInfo` that name the machine a program is for."""
    return {
        "lanes": config.lanes,
        "slices": config.slices,
        "pixels": config.pixels,
        "vector_width": config.vector_width,
        "store_log2": ceil_log2(config.store_words),
        "rows_log2": ceil_log2(config.total_rows),
        "table_log2": ceil_log2(config.table_channels),
        "ids_log2": ceil_log2(config.tensor_ids),
    }


def header_problem(info: data.View, *, base: Value, count: Value, config: AcceleratorConfig) -> Value:
    """Return the first problem with a header.

    Parameters
    ----------
    info:
        A :class:`respin.rtl.sequencer.descriptor.ProgramInfo`.
    base, count:
        The registers: where the program lies, and how many descriptors it has.
    config:
        The accelerator.
    """
    foreign = Const(0)
    for name, value in compiled_for(config).items():
        foreign = foreign | (info[name] != value)
    blocks = (base >> _BLOCK_LOG2) + count + 1
    rules = (
        (info.magic != PROGRAM_MAGIC, HeaderProblem.MAGIC),
        (info.version != VERSION, HeaderProblem.VERSION),
        (
            (info.count != count) | (count == 0) | (blocks > 1 << (32 - _BLOCK_LOG2)) | (base[:_BLOCK_LOG2] != 0),
            HeaderProblem.COUNT,
        ),
        (foreign, HeaderProblem.CONFIGURATION),
        (info.row_first + info.row_count > config.usable_rows, HeaderProblem.ROWS),
    )
    problem: Value = Const(HeaderProblem.NONE.value, HeaderProblem.as_shape())
    for broken, name in reversed(rules):
        problem = Mux(broken, Const(name.value, HeaderProblem.as_shape()), problem)
    return problem
