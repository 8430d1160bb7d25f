# SPDX-License-Identifier: Apache-2.0
"""Images and numbers as commands that read a user's network take them."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from respin.cli.console import BAD_INPUT, err, fail

if TYPE_CHECKING:
    from torch import Tensor

CALIBRATION_IMAGES = 128
"""Images that scales are set by, at most."""
TASK_IMAGES = 512
"""Images of a task that scales and a new head's features are set by, at most."""
COMPARED_IMAGES = 1000
"""Images that a network is compared on, at most."""


def say(line: str) -> None:
    """Print a line of progress."""
    err.print(line, highlight=False, markup=False)


def calibration(source: str | None) -> "Callable[[tuple[int, int]], Tensor] | None":
    """Return what loads the images of ``--images``."""
    from respin.golden.data import load_images

    return None if source is None else lambda size: load_images(source, size, CALIBRATION_IMAGES, say)


def compared(source: str) -> "Callable[[tuple[int, int]], Tensor]":
    """Return what loads the images of ``--agreement``: of a data set its test images."""
    from respin.golden.data import load_images

    return lambda size: load_images(source, size, COMPARED_IMAGES, say, test=True)


def numbers(option: str, text: str) -> tuple[float, ...]:
    """Return numbers with commas between; ends with exit code 2 if they are none."""
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        fail(f"{option} must be numbers with commas between, not {text!r}", BAD_INPUT)


def image_shape(text: str | None) -> tuple[int, ...] | None:
    """Return the shape that ``--shape`` gives."""
    try:
        return None if text is None else tuple(int(side) for side in text.split(","))
    except ValueError:
        fail(f"--shape must be numbers C,H,W, not {text!r}", BAD_INPUT)
