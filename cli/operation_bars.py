# SPDX-License-Identifier: Apache-2.0
"""The frame of pictures with a bar for each operation of a network."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot
from matplotlib.axes import Axes

from respin.cli.output import whole


@contextmanager
def operation_bars(path: Path, *, title: str) -> Iterator[Axes]:
    """Give axes of cycles by operation to draw on; write the picture, PNG or SVG, afterwards."""
    figure, axes = pyplot.subplots(figsize=(11, 4), layout="constrained")
    yield axes
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.set(title=title, xlabel="operation, in the order in which they run", ylabel="cycles")
    axes.margins(x=0.01)
    axes.spines[["top", "right"]].set_visible(False)
    axes.legend(frameon=False)
    with whole(path) as beside:
        figure.savefig(beside, dpi=150)
    pyplot.close(figure)
