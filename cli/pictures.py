# SPDX-License-Identifier: Apache-2.0
"""A folder of pictures as the input of a program."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional

from respin.firmware_model.compiler import INPUT_AREA, LOGITS_AREA
from respin.firmware_model.image import ProgramImage
from respin.golden.data import IMAGE_SUFFIXES, find_pictures, read_picture


@dataclass(frozen=True, kw_only=True, eq=False, slots=True)
class Pictures:
    """Pictures for a program.

    Parameters
    ----------
    files:
        Where they are.
    labels:
        The class of each by its number, -1 where its folder's name is no class.
    classes:
        Names of the classes; those of the folders where the program does not know them.
    image:
        The program.
    """

    files: tuple[Path, ...]
    labels: Tensor
    classes: tuple[str, ...]
    image: ProgramImage

    @classmethod
    def of_folder(cls, folder: Path, image: ProgramImage) -> "Pictures":
        """Find the pictures in a folder and its sub-folders.

        Raises
        ------
        ValueError
            If there is none, or the program does not take pictures; one line.
        """
        for name in (INPUT_AREA, LOGITS_AREA):
            if name not in image.tensors:
                raise ValueError(f"the program does not say of what shape its {name} is")
        channels, form = image.tensors[INPUT_AREA].shape[1], image.input_format
        if form is None:
            raise ValueError("the program does not say how a pixel becomes its input: it was compiled without --images")
        if channels not in (1, 3):
            raise ValueError(f"the program takes {channels} channels; pictures have 1 or 3")
        if not folder.is_dir():
            raise ValueError(f"{folder}: is no folder")
        files = find_pictures(folder)
        if not files:
            raise ValueError(f"{folder}: holds no picture ({', '.join(IMAGE_SUFFIXES)})")
        classes = image.classes or tuple(sorted({file.parent.name for file in files if file.parent != folder}))
        number = {name: place for place, name in enumerate(classes)}
        outputs = image.tensors[LOGITS_AREA].shape[1]
        if len(classes) > outputs:
            raise ValueError(f"{folder}: has folders of {len(classes)} classes, the program has {outputs}")
        labels = torch.tensor([number.get(file.parent.name, -1) for file in files])
        return cls(files=tuple(files), labels=labels, classes=classes, image=image)

    def __len__(self) -> int:
        return len(self.files)

    def name(self, number: int) -> str:
        """Return the name of a class, its number where it has none."""
        return self.classes[number] if number < len(self.classes) else str(number)

    def take(self, places: list[int]) -> Tensor:
        """Return some pictures as the program's input (N, C, H, W), brought to its size.

        Raises
        ------
        respin.golden.data.SourceError
            If one cannot be read.
        """
        _, channels, height, width = self.image.tensors[INPUT_AREA].shape
        assert self.image.input_format is not None
        resized = [
            functional.interpolate(
                read_picture(self.files[place], channels=channels)[None],
                size=(height, width),
                mode="bilinear",
                antialias=True,
            )
            for place in places
        ]
        return self.image.input_format.to_integer(torch.cat(resized))

    def require_readable(self, places: Iterable[int]) -> None:
        """Raise :class:`respin.golden.data.SourceError` if one of some pictures cannot be read: before long work."""
        channels = self.image.tensors[INPUT_AREA].shape[1]
        for place in sorted(set(places)):
            read_picture(self.files[place], channels=channels)

    def batches(self, count: int) -> Iterator[list[int]]:
        """Yield the first ``count`` pictures by their places, a program's batch at a time, the last one filled up
        with its last picture."""
        size = self.image.tensors[INPUT_AREA].shape[0]
        for first in range(0, min(count, len(self)), size):
            yield [min(place, count - 1, len(self) - 1) for place in range(first, first + size)]

    def training_batches(self, *, seed: int) -> Iterator[list[int]]:
        """Return batches without end, by their pictures' places, in an order drawn anew for each pass.

        Raises
        ------
        ValueError
            If a picture's folder names no class.
        """
        stray = (self.labels < 0).nonzero()
        if len(stray):
            named = ", ".join(self.classes)
            raise ValueError(f"{self.files[int(stray[0])]}: must lie in a folder named by a class: {named}")
        return self._shuffled(torch.Generator().manual_seed(seed))

    def _shuffled(self, generator: torch.Generator) -> Iterator[list[int]]:
        size, order = self.image.tensors[INPUT_AREA].shape[0], list[int]()
        while True:
            while len(order) < size:
                order += torch.randperm(len(self), generator=generator).tolist()
            yield order[:size]
            order = order[size:]
