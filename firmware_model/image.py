# SPDX-License-Identifier: Apache-2.0
"""A program image: programs and data as they lie in external memory, and what they are called."""

import json
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from respin.firmware_model.descriptors import Descriptor, list_program, read_header
from respin.firmware_model.layout import IntArray, require_input, tensor_bytes
from respin.firmware_model.packing import PackedWindows
from respin.golden.backbones import InputFormat
from respin.rtl.config import AcceleratorConfig
from respin.rtl.sequencer.descriptor import DESCRIPTOR_BYTES

FILE_MAGIC = b"RESPIN01"
_LENGTH_BYTES = 4


class ImageError(ValueError):
    """A file is no program image, or the image is not for this machine; the message is one line."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Area:
    """A stretch of external memory: its address, and its size in bytes."""

    address: int
    size: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Tensor:
    """What lies in an area: shape (N, C, H, W), and whether its elements are int8 or uint8."""

    shape: tuple[int, int, int, int]
    signed: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class ProgramImage:
    """What a compiler made.

    Parameters
    ----------
    config:
        The machine that it is for.
    base:
        Where it lies in external memory.
    content:
        Its bytes.
    areas:
        Where programs and data lie, by name.
    programs:
        Which of the areas are programs.
    tensors:
        What the network takes and makes: ``input`` and ``logits``.
    windows:
        Areas for packed windows of the input, and how a host lays them out; the input has an area of its own only
        where a layer reads it as it is.
    scratch:
        Bytes of external memory behind the content that the programs use.
    input_format:
        How a pixel becomes the input, where that is known.
    classes:
        Names of the classes in the order of the logits, where they are known.

    Raises
    ------
    ImageError
        If an area does not lie in the image, or a program is none of the areas.
    """

    config: AcceleratorConfig
    base: int
    content: bytes
    areas: Mapping[str, Area]
    programs: tuple[str, ...]
    tensors: Mapping[str, Tensor]
    windows: Mapping[str, PackedWindows] = field(default_factory=dict)
    scratch: int = 0
    input_format: InputFormat | None = None
    classes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        self._check_pictures()
        end = self.base + len(self.content)
        if self.base + self.memory > 1 << 32:
            raise ImageError(f"the image must end within 32 bits of address, not at {self.base + self.memory:#x}")
        for name, area in self.areas.items():
            if not self.base <= area.address <= area.address + area.size <= end:
                raise ImageError(f"area {name} must lie in {self.base:#x}..{end:#x}, not at {area.address:#x}")
        for name in self.windows:
            if name not in self.areas:
                raise ImageError(f"packed windows {name} must have an area")
        for name in self.programs:
            if name not in self.areas or self.areas[name].size < 2 * DESCRIPTOR_BYTES:
                raise ImageError(f"program {name} must be an area with a header and a descriptor")

    def _check_pictures(self) -> None:
        about, form = self.tensors.get("input"), self.input_format
        if form is not None and about is not None:
            channels = about.shape[1]
            if not len(form.mean) == len(form.deviation) == channels:
                raise ImageError(f"input_format must have a mean and a deviation for each of {channels} channels")
            if not all(value > 0 for value in (*form.deviation, form.scale)):
                raise ImageError("deviations and scale of input_format must be above 0")
            if form.signed != about.signed:
                raise ImageError(f"signed of input_format must be {about.signed}, as of the input")
        if not all(isinstance(name, str) for name in self.classes):
            raise ImageError("classes must be names")
        logits = self.tensors.get("logits")
        if self.classes and logits is not None and len(self.classes) != logits.shape[1]:
            raise ImageError(f"classes must be {logits.shape[1]} names, not {len(self.classes)}")

    @property
    def memory(self) -> int:
        """Bytes of external memory that the programs need in all, from ``base`` on."""
        return len(self.content) + self.scratch

    def bytes_of(self, name: str) -> bytes:
        """Return what the image holds in an area."""
        area = self.areas[name]
        return self.content[area.address - self.base :][: area.size]

    def input_content(self, x: IntArray) -> dict[str, bytes]:
        """Return what a host writes into the areas for the input, for a batch ``x`` (N, C, H, W).

        Raises
        ------
        TypeError, ValueError
            If it is not int8 or uint8 as the network takes it, or of another shape.
        """
        about = self.tensors["input"]
        require_input(x, about.shape, signed=about.signed)
        made = {name: windows.pack(x) for name, windows in self.windows.items()}
        if "input" in self.areas:
            made["input"] = x
        return {name: tensor_bytes(values) for name, values in made.items()}

    def count(self, program: str) -> int:
        """Return the number of descriptors of a program."""
        blocks: int = self.areas[program].size // DESCRIPTOR_BYTES
        return blocks - 1  # one is the header

    def descriptors(self, program: str) -> list[Descriptor]:
        """Return the descriptors of a program."""
        content = self.bytes_of(program)[DESCRIPTOR_BYTES:]
        return [
            Descriptor.unpack(content[at : at + DESCRIPTOR_BYTES]) for at in range(0, len(content), DESCRIPTOR_BYTES)
        ]

    def writable_rows(self, program: str) -> range:
        """Return the MRAM rows that a program may write."""
        header = read_header(self.bytes_of(program)[:DESCRIPTOR_BYTES])
        return range(header["row_first"], header["row_first"] + header["row_count"])

    def listing(self, program: str) -> list[str]:
        """Return a program as lines to read."""
        return list_program(self.bytes_of(program))

    def save(self, path: Path) -> None:
        """Write the image to a file."""
        about = {
            "config": asdict(self.config),
            "base": self.base,
            "areas": {name: asdict(area) for name, area in self.areas.items()},
            "programs": self.programs,
            "tensors": {name: asdict(tensor) for name, tensor in self.tensors.items()},
            "windows": {name: asdict(windows) for name, windows in self.windows.items()},
            "scratch": self.scratch,
            "input_format": None if self.input_format is None else asdict(self.input_format),
            "classes": self.classes,
        }
        text = json.dumps(about).encode()
        whole = FILE_MAGIC + len(text).to_bytes(_LENGTH_BYTES, "little") + text + self.content
        path.write_bytes(whole + zlib.crc32(whole).to_bytes(_LENGTH_BYTES, "little"))

    @classmethod
    def load(cls, path: Path) -> "ProgramImage":
        """Read an image from a file.

        Raises
        ------
        ImageError
            Naming the file and what is wrong with it.
        """
        try:
            whole = path.read_bytes()
        except OSError as error:
            raise ImageError(f"{path}: cannot be read: {error.strerror}") from error
        if not whole.startswith(FILE_MAGIC):
            raise ImageError(f"{path}: is no program image")
        start = len(FILE_MAGIC) + _LENGTH_BYTES
        if len(whole) < start + _LENGTH_BYTES or zlib.crc32(whole[:-_LENGTH_BYTES]) != int.from_bytes(
            whole[-_LENGTH_BYTES:], "little"
        ):
            raise ImageError(f"{path}: is damaged or cut short")
        length = int.from_bytes(whole[len(FILE_MAGIC) : start], "little")
        try:
            return cls._read(json.loads(whole[start : start + length]), whole[start + length : -_LENGTH_BYTES])
        except KeyError as error:
            raise ImageError(f"{path}: {error} is missing") from error
        except (AttributeError, IndexError, RecursionError, TypeError, ValueError) as error:
            raise ImageError(f"{path}: {error}") from error

    @classmethod
    def _read(cls, about: Mapping[str, Any], content: bytes) -> "ProgramImage":
        return cls(
            config=AcceleratorConfig(**about["config"]),
            base=about["base"],
            content=content,
            areas={name: Area(**area) for name, area in about["areas"].items()},
            programs=tuple(about["programs"]),
            tensors={
                name: Tensor(shape=tuple(tensor["shape"]), signed=tensor["signed"])
                for name, tensor in about["tensors"].items()
            },
            windows={name: PackedWindows.from_dict(windows) for name, windows in about.get("windows", {}).items()},
            scratch=about["scratch"],
            input_format=None if about["input_format"] is None else _input_format(about["input_format"]),
            classes=tuple(about["classes"]),
        )


def _input_format(about: Mapping[str, Any]) -> InputFormat:
    return InputFormat(
        mean=tuple(about["mean"]), deviation=tuple(about["deviation"]), scale=about["scale"], signed=about["signed"]
    )
