# SPDX-License-Identifier: Apache-2.0
"""The picture of a campaign: what became of the codewords of each trial, and the bound of the silent ones."""

from typing import Any

import numpy as np
from matplotlib.figure import Figure

from respin.cli.device.style import COLOURS
from respin.golden.memory.secded import CODEWORDS

_CLASSES = ("intact", "corrected", "detected", "silent")
_COLOURS = (COLOURS[2], COLOURS[0], COLOURS[3], COLOURS[1])
_FEWEST = 0.5
_BAR = 0.2


def outcomes(record: dict[str, Any]) -> Figure:
    """Draw the trials of a campaign's record, one below the other: four bars each in log scale, the bound as a mark.

    Bars stand side by side: stacked ones have no meaning in log scale. Nothing is drawn where nothing was counted.
    """
    trials = record["cases"]
    figure = Figure(figsize=(7.0, 0.9 + 0.24 * len(trials)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(trials))
    for number, (name, colour) in enumerate(zip(_CLASSES, _COLOURS, strict=True)):
        counts = np.array([trial[name] for trial in trials], dtype=float)
        counts[counts == 0] = np.nan
        offset = (number - 1.5) * _BAR
        axes.barh(places + offset, counts - _FEWEST, _BAR, left=_FEWEST, color=colour, label=name)
    bounds = np.array([trial["bound"] for trial in trials])
    drawn = bounds > _FEWEST
    axes.plot(bounds[drawn], places[drawn] + 1.5 * _BAR, "k|", ms=5, label="bound of silent")
    names = [" ".join(filter(None, (trial["fault"], trial["rate"], trial["when"]))) for trial in trials]
    axes.set_yticks(places, names, fontsize=6)
    axes.invert_yaxis()
    axes.set_ylim(len(trials) - 0.5, -0.5)
    axes.set_xscale("log")
    axes.set_xlim(_FEWEST, CODEWORDS * record["rows"] * 1.1)
    axes.set_xlabel(f"codewords of {CODEWORDS * record['rows']:,} ({record['device']}, seed {record['seed']})")
    axes.grid(axis="x", alpha=0.25, lw=0.5)
    figure.legend(loc="outside upper center", ncols=5)
    return figure
