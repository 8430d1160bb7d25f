# SPDX-License-Identifier: Apache-2.0
"""Descriptors and program headers as bytes, and as lines to read (docs/sequencer.md)."""

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from respin.firmware_model.job_parts import Fields
from respin.firmware_model.structures import from_bits, set_fields, to_bits
from respin.rtl.config import AcceleratorConfig
from respin.rtl.jobs import GATHER_SOURCES, Pass
from respin.rtl.sequencer.descriptor import (
    BODIES,
    BUILT,
    CRC_BITS,
    DESCRIPTOR,
    DESCRIPTOR_BYTES,
    JOB_PARTS,
    MAGIC,
    PROGRAM_HEADER,
    PROGRAM_MAGIC,
    VERSION,
    Flags,
    Opcode,
)
from respin.rtl.sequencer.header import compiled_for

_CRC_BYTES = CRC_BITS // 8
_COUNTS = ("loads", "stores", "beside")
_FLAGS = tuple(name for name, _ in Flags.as_shape() if name not in (*_COUNTS, "reserved"))


class DescriptorError(ValueError):
    """Bytes are no descriptor, or no header."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Descriptor:
    """One descriptor.

    Parameters
    ----------
    opcode:
        What it asks for.
    body:
        Fields of its body; absent ones are 0.
    flags:
        Names of the flags that are set: ``wait``, ``edge``, ``first``, ``last``, ``fan_in``.
    tensor:
        Id of the tensor of errors that a JOB puts out.
    sources:
        Ids of the tensors of errors that it starts from.
    fraction, rate_shift:
        As in :class:`respin.rtl.sequencer.descriptor.Header`.
    kind:
        The pass of a JOB.
    loads, stores:
        With ``wait``: how many of the last LOAD and TABLE, and of the last STORE, it does not wait for.
    beside:
        Job slots for whose job under way it does not wait: 1 the dense one, 2 the light one, 3 both.

    Raises
    ------
    ValueError
        For a flag that there is not, or more than four sources.
    """

    opcode: Opcode
    body: Mapping[str, Any] = field(default_factory=dict)
    flags: frozenset[str] = frozenset()
    tensor: int = 0
    sources: tuple[int, ...] = ()
    fraction: int = 0
    rate_shift: int = 0
    kind: Pass = Pass.CONVOLUTION
    loads: int = 0
    stores: int = 0
    beside: int = 0

    def __post_init__(self) -> None:
        for flag in self.flags:
            if flag not in _FLAGS:
                raise ValueError(f"flags must be of {', '.join(_FLAGS)}, not {flag!r}")
        if len(self.sources) > GATHER_SOURCES:
            raise ValueError(f"sources must be at most {GATHER_SOURCES}, not {len(self.sources)}")

    @classmethod
    def of_job(
        cls, job: Fields, *, flags: Sequence[str] = (), sources: Sequence[int] = (), fraction: int = 0,
        rate_shift: int = 0,
    ) -> "Descriptor":  # fmt: skip
        """Return the descriptor of a job; what hangs on a step and its exponents is the sequencer's to fill in."""
        body = {name: job[name] for name, _ in JOB_PARTS if name in job}
        return cls(
            opcode=Opcode.JOB,
            body=body,
            flags=frozenset(flags),
            tensor=job.get("tensor", 0),
            sources=tuple(sources),
            fraction=fraction,
            rate_shift=rate_shift,
            kind=job["kind"],
        )

    def waiting(self, *, loads: int = 0, stores: int = 0) -> "Descriptor":
        """Return the same, run once all LOAD and TABLE before it but the last ``loads`` have ended, and all STORE but
        the last ``stores``."""
        return replace(self, flags=self.flags | {"wait"}, loads=loads, stores=stores)

    def pack(self) -> bytes:
        """Return its 256 bytes.

        Raises
        ------
        ValueError
            If a number does not fit its field.
        """
        places = [{"id": number, "valid": 1} for number in self.sources]
        header = {
            "magic": MAGIC,
            "version": VERSION,
            "opcode": self.opcode,
            "flags": {**dict.fromkeys(self.flags, 1), **{name: getattr(self, name) for name in _COUNTS}},
            "fraction": self.fraction,
            "rate_shift": self.rate_shift,
            "tensor": self.tensor,
            "sources": [*places, *({} for _ in range(GATHER_SOURCES - len(places)))],
            "kind": self.kind,
        }
        fields: dict[str, Any] = {"header": header}
        if self.opcode in BODIES:
            fields[BODIES[self.opcode]] = self.body
        return seal(to_bits(DESCRIPTOR, fields, self.opcode.name.lower()).to_bytes(DESCRIPTOR_BYTES, "little"))

    @classmethod
    def unpack(cls, content: bytes) -> "Descriptor":
        """Return what 256 bytes mean.

        Raises
        ------
        DescriptorError
            If they are no descriptor that is built: length, CRC, magic, version, opcode or pass are wrong.
        """
        fields = from_bits(DESCRIPTOR, _checked(content, "descriptor"))
        header = fields["header"]
        if header["magic"] != MAGIC or header["version"] != VERSION:
            raise DescriptorError(
                f"magic and version of a descriptor must be {MAGIC:#06x} and {VERSION}, "
                f"not {header['magic']:#06x} and {header['version']}"
            )
        known = {opcode.value: opcode for opcode in BUILT}
        passes = {kind.value: kind for kind in Pass}
        if header["opcode"] not in known:
            raise DescriptorError(f"opcode must be one of {', '.join(map(str, known))}, not {header['opcode']}")
        opcode = known[header["opcode"]]
        if header["kind"] not in passes:
            raise DescriptorError(f"kind must be one of {', '.join(map(str, passes))}, not {header['kind']}")
        return cls(
            opcode=opcode,
            body=fields[BODIES[opcode]] if opcode in BODIES else {},
            flags=frozenset(name for name in _FLAGS if header["flags"][name]),
            tensor=header["tensor"],
            sources=tuple(source["id"] for source in header["sources"] if source["valid"]),
            fraction=header["fraction"],
            rate_shift=header["rate_shift"],
            kind=passes[header["kind"]],
            **{name: header["flags"][name] for name in _COUNTS},
        )

    def line(self) -> str:
        """Return it as one line."""
        parts = [self.opcode.name]
        if self.opcode is Opcode.JOB:
            parts.append(self.kind.name.lower())
            if self.tensor:
                parts.append(f"tensor {self.tensor}")
        if self.sources:
            parts.append(f"from {', '.join(map(str, self.sources))}")
        parts += [f"{name} {value}" for name in ("fraction", "rate_shift", *_COUNTS) if (value := getattr(self, name))]
        parts += sorted(self.flags)
        shown = set_fields(self.body)
        if shown:
            parts.append(_short(shown))
        return " ".join(parts)


def _short(fields: Mapping[str, Any]) -> str:
    def text(value: Any) -> str:
        if isinstance(value, Mapping):
            return _short(value)
        if isinstance(value, list):
            return "[" + " ".join(text(item) for item in value) + "]"
        return str(getattr(value, "value", value))

    return "{" + " ".join(f"{key}={text(value)}" for key, value in fields.items()) + "}"


def seal(content: bytes) -> bytes:
    """Return a descriptor, or a header, with the CRC of what is before it in its last four bytes."""
    body = content[:-_CRC_BYTES]
    return body + zlib.crc32(body).to_bytes(_CRC_BYTES, "little")


def _checked(content: bytes, what: str) -> int:
    if len(content) != DESCRIPTOR_BYTES:
        raise DescriptorError(f"a {what} must have {DESCRIPTOR_BYTES} bytes, not {len(content)}")
    if seal(content) != content:
        raise DescriptorError(f"the CRC of the {what} is wrong")
    return int.from_bytes(content, "little")


def checksum(descriptors: Sequence[bytes]) -> int:
    """Return the checksum of a program: the CRC-32 of its descriptors' CRCs."""
    return zlib.crc32(b"".join(content[-_CRC_BYTES:] for content in descriptors))


def program_header(
    config: AcceleratorConfig, descriptors: Sequence[bytes], *, row_first: int = 0, row_count: int = 0
) -> bytes:
    """Return the header of a program.

    Parameters
    ----------
    config:
        The machine that it is for.
    descriptors:
        Its descriptors, packed.
    row_first, row_count:
        The MRAM rows that it may write.
    """
    info = {
        "magic": PROGRAM_MAGIC,
        "version": VERSION,
        "count": len(descriptors),
        **compiled_for(config),
        "row_first": row_first,
        "row_count": row_count,
        "checksum": checksum(descriptors),
    }
    return seal(to_bits(PROGRAM_HEADER, {"info": info}, "header").to_bytes(DESCRIPTOR_BYTES, "little"))


def read_header(content: bytes) -> dict[str, int]:
    """Return the fields of a program's header; raises DescriptorError if it is damaged or none."""
    info: dict[str, int] = from_bits(PROGRAM_HEADER, _checked(content, "program header"))["info"]
    if info["magic"] != PROGRAM_MAGIC or info["version"] != VERSION:
        raise DescriptorError(f"magic and version must be {PROGRAM_MAGIC:#x} and {VERSION}, not those of a program")
    return info


def pack_program(
    config: AcceleratorConfig, descriptors: Sequence[Descriptor], *, row_first: int = 0, row_count: int = 0
) -> bytes:
    """Return a whole program: its header, then ``descriptors``, which end with END."""
    packed = [descriptor.pack() for descriptor in descriptors]
    return program_header(config, packed, row_first=row_first, row_count=row_count) + b"".join(packed)


def list_program(content: bytes) -> list[str]:
    """Return a program as lines, one for its header and one for each descriptor; what is damaged is said so."""
    lines = []
    try:
        info = read_header(content[:DESCRIPTOR_BYTES])
        lines.append("program " + " ".join(f"{name}={value}" for name, value in info.items()))
    except DescriptorError as error:
        lines.append(f"program: {error}")
    for number, at in enumerate(range(DESCRIPTOR_BYTES, len(content), DESCRIPTOR_BYTES)):
        try:
            lines.append(f"{number:5} {Descriptor.unpack(content[at : at + DESCRIPTOR_BYTES]).line()}")
        except DescriptorError as error:
            lines.append(f"{number:5} {error}")
    return lines
