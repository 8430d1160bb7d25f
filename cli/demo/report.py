# SPDX-License-Identifier: Apache-2.0
"""The demo's report: one self-contained HTML page with the run's pictures and tables."""

import io
from pathlib import Path

import jinja2
import matplotlib
import numpy as np
from numpy.typing import NDArray

from respin.cli.demo.result import DemoResult, ImageRows
from respin.cli.output import write_whole

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

STRIPS = 72
COLOURS = {"forward": "#3b6ea5", "error": "#c8743a", "gradient": "#5a9367", "other": "#8b8b8b"}
STYLE = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "svg.hashsalt": "respin"}


def _svg(figure: Figure) -> str:
    """The figure as an inline SVG element, the same bytes for the same figures."""
    text = io.StringIO()
    figure.savefig(text, format="svg", bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)
    svg = text.getvalue()
    return svg[svg.index("<svg") :]


def loss_curve(result: DemoResult) -> str:
    """Loss and batch accuracy over the steps."""
    steps = [step.step for step in result.steps]
    figure, loss_axis = plt.subplots(figsize=(6.4, 2.8))
    loss_axis.plot(steps, [step.loss for step in result.steps], color="#3b6ea5", lw=1.6)
    loss_axis.set_xlabel("training step (in simulated hardware)")
    loss_axis.set_ylabel("cross-entropy of the batch (nats)", color="#3b6ea5")
    loss_axis.set_ylim(bottom=0)
    accuracy_axis = loss_axis.twinx()
    accuracy_axis.plot(steps, [100 * step.accuracy for step in result.steps], color="#c8743a", lw=1.0, alpha=0.8)
    accuracy_axis.set_ylabel("batch accuracy before the step (%)", color="#c8743a")
    accuracy_axis.set_ylim(0, 102)
    return _svg(figure)


def cycle_breakdown(result: DemoResult) -> str:
    """Where the cycles of training went: each job's share, the engine's ideal beside it."""
    jobs = [job for job in result.jobs if job.cycles]
    figure, axis = plt.subplots(figsize=(6.4, 0.24 * len(jobs) + 0.8))
    y = np.arange(len(jobs))
    total = sum(job.cycles for job in jobs)
    axis.barh(y, [100 * job.cycles / total for job in jobs], color=[COLOURS[job.stage] for job in jobs], height=0.72)
    axis.barh(y, [100 * job.ideal_cycles / total for job in jobs], color="black", alpha=0.35, height=0.28)
    axis.set_yticks(y, [job.name for job in jobs])
    axis.invert_yaxis()
    axis.set_xlabel("share of all cycles (%); dark: what the engine's peak would take")
    for stage, colour in COLOURS.items():
        axis.barh([0], [0], color=colour, label=stage)
    axis.legend(frameon=False, loc="center right")
    return _svg(figure)


def _strip_values(rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The four bits of each strip as a number: (rows, 288) bits -> (rows, 72) in 0..15."""
    nibbles = rows.reshape(len(rows), STRIPS, 4)
    return (nibbles << np.arange(4, dtype=np.uint8)).sum(axis=2).astype(np.uint8)


def array_picture(images: list[ImageRows], before: NDArray[np.uint8], after: NDArray[np.uint8]) -> str:
    """The trained rows of the array before and after, and which strips differ."""
    trained = [image for image in images if image.trained]
    index = np.concatenate([np.arange(image.base, image.base + image.rows) for image in trained])
    old, new = before[index], after[index]
    changed = (old != new).reshape(len(index), STRIPS, 4).sum(axis=2)
    figure, axes = plt.subplots(1, 3, figsize=(9.6, 6.4), sharey=True)
    panels = ((_strip_values(old), "before", "gray", 15), (_strip_values(new), "after", "gray", 15))
    for axis, (values, title, colours, top) in zip(axes, panels, strict=False):
        axis.imshow(values, aspect="auto", cmap=colours, vmin=0, vmax=top, interpolation="nearest")
        axis.set_title(title)
    levels = ListedColormap(["#f4f1ea", "#f2c078", "#e08e45", "#c8553d", "#7d1d1d"])
    shown = axes[2].imshow(changed, aspect="auto", cmap=levels, vmin=-0.5, vmax=4.5, interpolation="nearest")
    axes[2].set_title(f"changed: {np.count_nonzero(changed)} of {changed.size} strips")
    figure.colorbar(shown, ax=axes[2], ticks=range(5), label="MTJs of the strip that differ")
    edges = np.cumsum([0] + [image.rows for image in trained])
    axes[0].set_yticks((edges[:-1] + edges[1:]) / 2, [image.name for image in trained])
    for axis in axes:
        axis.set_xlabel("strip (4 MTJs)")
        for edge in edges[1:-1]:
            axis.axhline(edge - 0.5, color="#3b6ea5", lw=0.6)
    return _svg(figure)


def write_report(path: Path, result: DemoResult, *, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> None:
    """Write the page. ``before`` and ``after`` hold the array's raw bits, (rows, 288), by global row."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
    )
    with plt.rc_context(STYLE):
        page = environment.get_template("report.html").render(
            result=result,
            loss=jinja2.utils.markupsafe.Markup(loss_curve(result)),
            cycles=jinja2.utils.markupsafe.Markup(cycle_breakdown(result)),
            array=jinja2.utils.markupsafe.Markup(array_picture(result.images, before, after)),
        )
    write_whole(path, page)
