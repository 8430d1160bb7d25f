# SPDX-License-Identifier: Apache-2.0
"""Descriptors and headers as bytes: there and back, refusals, listings; and that docs/sequencer.md tells them right."""

import os
import random
import zlib
from pathlib import Path

import pytest

from respin.firmware_model.descriptors import (
    Descriptor,
    DescriptorError,
    checksum,
    list_program,
    pack_program,
    read_header,
    seal,
)
from respin.firmware_model.structures import from_bits, leaves, to_bits
from respin.rtl.config import preset
from respin.rtl.jobs import Job, Pass
from respin.rtl.sequencer.descriptor import (
    BODIES,
    BUILT,
    DESCRIPTOR,
    HEADER_BITS,
    JOB_PARTS,
    BiasesBody,
    Flags,
    Header,
    Opcode,
    ProgramInfo,
    RowsBody,
    TableBody,
    TransferBody,
)
from respin.rtl.sequencer.errors import ErrorCode, HeaderProblem, Problem

SEED = int(os.environ.get("RESPIN_SEED", "1"))
CONFIG = preset("tiny")
DOCUMENT = (Path(__file__).parents[2] / "docs" / "sequencer.md").read_text(encoding="utf-8")


def random_fields(shape: object, rng: random.Random) -> object:
    bits = 0
    for _, low, width in leaves(shape):
        bits |= rng.getrandbits(width) << low
    return from_bits(shape, bits)


def test_what_is_packed_is_unpacked() -> None:
    rng = random.Random(SEED)
    for _ in range(100):
        opcode = rng.choice(BUILT)
        descriptor = Descriptor(
            opcode=opcode,
            body=random_fields(DESCRIPTOR[BODIES[opcode]].shape, rng) if opcode in BODIES else {},
            flags=frozenset(rng.sample(["wait", "edge", "first", "last", "fan_in"], rng.randrange(6))),
            tensor=rng.getrandbits(12),
            sources=tuple(rng.getrandbits(12) for _ in range(rng.randrange(5))),
            fraction=rng.randrange(-128, 128),
            rate_shift=rng.randrange(-128, 128),
            kind=rng.choice(list(Pass)) if opcode is Opcode.JOB else Pass.CONVOLUTION,
        )
        content = descriptor.pack()
        assert len(content) == 256
        assert zlib.crc32(content[:252]) == int.from_bytes(content[252:], "little")
        assert Descriptor.unpack(content) == descriptor
        assert descriptor.waiting().flags == descriptor.flags | {"wait"}
        assert opcode.name in descriptor.line()
        assert "\n" not in descriptor.line()


def test_the_body_of_a_job_is_the_job() -> None:
    """Bit for bit as it lies in the structure, from its first part on."""
    parts = dict(Job.as_shape())
    first = parts["window"].offset
    for name, field in JOB_PARTS:
        assert field.offset == parts[name].offset - first, name
        assert field.shape == parts[name].shape, name


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Descriptor(opcode=Opcode.END, flags=frozenset({"soon"})), "flags must be of wait, edge"),
        (lambda: Descriptor(opcode=Opcode.JOB, sources=(1, 2, 3, 4, 5)), "sources must be at most 4, not 5"),
        (lambda: Descriptor(opcode=Opcode.ROWS, body={"row": -1}).pack(), r"rows\.rows\.row must be in 0\.\."),
        (lambda: Descriptor(opcode=Opcode.ROWS, body={"rows": 1}).pack(), r"rows\.rows has no field rows"),
        (lambda: Descriptor(opcode=Opcode.END, fraction=128).pack(), r"fraction must be in -128\.\.127, not 128"),
        (lambda: to_bits(JOB_PARTS, {"gather": {"sources": [{}]}}), "must have 4 elements, not 1"),
    ],
)
def test_what_does_not_fit_is_refused(make, message) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_bytes_that_are_no_descriptor_are_told() -> None:
    content = Descriptor(opcode=Opcode.BARRIER).pack()
    cases = [
        (content[:255], "must have 256 bytes, not 255"),
        (bytes([content[0] ^ 1]) + content[1:], "the CRC of the descriptor is wrong"),
        (seal(bytes(256)), "magic and version"),
        (seal(content[:3] + bytes([99]) + content[4:]), "opcode must be one of 1, 2"),
        (seal(content[:18] + bytes([6]) + content[19:]), "kind must be one of"),
    ]
    for wrong, message in cases:
        with pytest.raises(DescriptorError, match=message):
            Descriptor.unpack(wrong)
    with pytest.raises(DescriptorError, match="not those of a program"):
        read_header(seal(bytes(256)))


def test_a_program_has_a_header_and_is_listed() -> None:
    rows = Descriptor(opcode=Opcode.ROWS, body={"address": 64, "row": 5, "count": 2})
    program = pack_program(CONFIG, [rows, Descriptor(opcode=Opcode.END)], row_first=5, row_count=2)
    header = read_header(program[:256])
    assert (header["count"], header["slices"], header["row_first"], header["row_count"]) == (2, 4, 5, 2)
    assert header["checksum"] == checksum([program[256:512], program[512:]])
    assert list_program(program)[1:] == ["    0 ROWS {address=64 row=5 count=2}", "    1 END"]
    damaged = list_program(program[:300] + b"!" + program[301:])
    assert damaged[1] == "    0 the CRC of the descriptor is wrong"


def test_a_checksum_tells_good_descriptors_apart() -> None:
    """A CRC of whole descriptors would not: each ends with its own, after which the register has forgotten it."""
    one, other = (Descriptor(opcode=Opcode.ROWS, body={"row": row}).pack() for row in (1, 2))
    assert zlib.crc32(one + other) == zlib.crc32(other + one) == zlib.crc32(one + one)
    assert len({checksum(order) for order in ([one, other], [other, one], [one, one])}) == 3


# docs/sequencer.md.


def rows_of(shape: object, *, first: int = 0) -> list[str]:
    """Lines of a table of fields: name, first byte and bit, width."""
    return [
        f"| `{name}` | {(first + low) // 8}{f'.{low % 8}' if low % 8 else ''} | {width} |"
        for name, low, width in leaves(shape)
    ]


@pytest.mark.parametrize(
    ("shape", "first"),
    [
        (ProgramInfo, 0),
        (Header, 0),
        (TransferBody, HEADER_BITS),
        (TableBody, HEADER_BITS),
        (BiasesBody, HEADER_BITS),
        (RowsBody, HEADER_BITS),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_the_document_has_every_field(shape, first) -> None:
    table = rows_of(shape, first=first)
    if shape is Header:
        # Flags stand in a table of their own, sources in one line.
        table = [line for line in table if "flags" not in line and "sources" not in line]
        for line in rows_of(Flags, first=32):
            assert line in DOCUMENT, line
    for line in table:
        assert line in DOCUMENT, line


def test_the_document_has_every_part_of_a_job() -> None:
    for name, field in JOB_PARTS:
        assert f"| `{name}` | {HEADER_BITS + field.offset} | {field.width} |" in DOCUMENT, name


def test_the_document_has_every_opcode_and_error() -> None:
    for opcode in Opcode:
        assert f"{opcode.value} {opcode.name}" in DOCUMENT, opcode
    for code in ErrorCode:
        if code is not ErrorCode.NONE:
            assert f"| {code.value} {code.name} |" in DOCUMENT, code
    for kind in (HeaderProblem, Problem):
        for problem in kind:
            if problem.value:
                assert f"{problem.value} {problem.name}" in DOCUMENT, problem
