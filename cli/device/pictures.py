# SPDX-License-Identifier: Apache-2.0
"""Pictures of a device, as figures for a paper: of what the solver's trials gave, and of the closed forms beside it."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.image import AxesImage

from respin.cli.device.style import COLOURS
from respin.sim import reliability
from respin.sim.device import Device
from respin.sim.physics.macrospin import KELVIN, ROOM_CELSIUS, Macrospin
from respin.sim.physics.pulses import on_strip
from respin.sim.physics.sweep import Outcome, fit_plane, on_plane, with_tail
from respin.sim.physics.trials import STEP_NS, Point, first_pulse, paths

_DAY = 86400.0
_LOWEST = 1e-20


def _figure(width: float, height: float, columns: int, rows: int = 1, **options: Any) -> tuple[Figure, np.ndarray]:
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots(rows, columns, squeeze=False, **options)


def _label(axes: Axes, letter: str, title: str) -> None:
    axes.set_title(f"({letter}) {title}", loc="left")


# Write errors


def _points(axes: Axes, outcomes: Sequence[Outcome], value: Callable[[Point], float], colour: str, label: str) -> None:
    """Draw shares of errors with their intervals; where no trial went wrong, the interval's end as an arrow down.

    Lines join neighbours that both have a share.
    """
    ordered = sorted(outcomes, key=lambda each: value(each.point))
    seen = not all(each.extrapolated for each in ordered)
    if seen:
        share = np.array([np.nan if each.extrapolated else each.error for each in ordered])
        low, high = np.array([each.interval for each in ordered]).T
        spread = np.maximum([share - low, high - share], 0)
        axes.errorbar(
            [value(each.point) for each in ordered], share, yerr=spread, fmt="o-", ms=3, capsize=2, color=colour,
            label=label,
        )  # fmt: skip
    for each in outcomes:
        if each.extrapolated:
            high = each.interval[1]
            axes.annotate(
                "", (value(each.point), high / 2.5), (value(each.point), high * 1.1),
                arrowprops={"arrowstyle": "-|>", "color": colour, "mutation_scale": 7, "shrinkA": 0, "shrinkB": 0},
            )  # fmt: skip
            axes.plot(value(each.point), high, marker="_", color=colour, label=None if seen else label, ls="none")


def _error_axis(axes: Axes, outcomes: Sequence[Outcome]) -> None:
    axes.set_yscale("log")
    fewest = min((each.interval[1] for each in outcomes if each.extrapolated), default=1e-3)
    # Room for the legend above 1.
    axes.set_ylim(min(fewest / 4, 1e-4), 30.0)
    axes.set_yticks([each for each in 10.0 ** np.arange(-12, 1) if each >= axes.get_ylim()[0]])
    axes.minorticks_off()
    axes.grid(alpha=0.25, lw=0.5)


def write_error(device: Device, outcomes: Sequence[Outcome]) -> Figure:
    """Draw write errors against currents and pulse, temperature and out-of-plane field."""
    if device.geometry == "y":
        return _erase_and_program(device, outcomes)
    first = first_pulse(device)
    figure, grid = _figure(7.0, 4.6, 3, 2, sharey=True)
    a, b, c, d, e, f = grid.ravel()
    plane, flat = fit_plane(device, outcomes), on_plane(device, outcomes)
    currents = sorted({each.point.stt for each in flat})
    for number, stt in enumerate(currents):
        colour = COLOURS[number % len(COLOURS)]
        _points(a, [each for each in flat if each.point.stt == stt], lambda point: point.sot, colour, f"{stt:g} µA")
        if plane is not None:
            sots = np.linspace(min(each.point.sot for each in flat), max(each.point.sot for each in flat), 50)
            fitted = [plane.error(replace(first, sot=float(sot), stt=stt)) for sot in sots]
            a.plot(sots, fitted, ls=":", lw=0.8, color=colour)
    anchors = [anchor for anchor in device.anchors if not anchor.bound]
    if anchors:
        a.plot([x.sot for x in anchors], [x.error for x in anchors], "kx", ms=4, label="anchors")
    for axes, letter, title, label in (
        (a, "a", "currents", "SOT current (µA)"), (b, "b", "currents", "STT current (µA)"),
        (c, "c", "pulse length", "SOT pulse (ns)"), (d, "d", "tail", "STT beyond SOT (ns)"),
        (e, "e", "temperature", "temperature (°C)"), (f, "f", "anisotropy", "out-of-plane field (T)"),
    ):  # fmt: skip
        _label(axes, letter, title)
        axes.set_xlabel(label)
    sots = sorted({each.point.sot for each in flat})
    for number, sot in enumerate(sots):
        colour = COLOURS[number % len(COLOURS)]
        _points(b, [each for each in flat if each.point.sot == sot], lambda point: point.stt, colour, f"{sot:.3g} µA")

    def tail(point: Point) -> float:
        return device["write.stt_start"] + point.stt_time - point.sot_time

    nominal = tail(first)
    for number, sot in enumerate((sots[0], sots[-1])):
        begin = replace(first, sot=sot)
        chosen = [each for each in outcomes if replace(each.point, sot=sot, stt=first.stt) == each.point]
        cuts: list[tuple[Axes, Callable[[Point], float], Callable[[Point], bool]]] = [
            (c, lambda x: x.sot_time, lambda x, o=begin: with_tail(device, o, x.sot_time, nominal) == x),
            (d, tail, lambda x, o=begin: with_tail(device, o, o.sot_time, round(tail(x), 6)) == x),
            (e, lambda x: x.celsius, lambda x, o=begin: replace(o, celsius=x.celsius) == x),
            (f, lambda x: x.out_of_plane, lambda x, o=begin: replace(o, out_of_plane=x.out_of_plane) == x),
        ]
        for axes, value, belongs in cuts:
            _points(axes, [each for each in chosen if belongs(each.point)], value, COLOURS[number], f"{sot:.3g} µA")
    for axes in grid.ravel():
        _error_axis(axes, outcomes)
    for axes in grid[:, 0]:
        axes.set_ylabel("write error")
    for axes, title in ((a, "STT"), (b, "SOT"), (c, "SOT")):
        axes.legend(title=title, title_fontsize=7, ncols=3, loc="upper center", columnspacing=0.8, handlelength=1.2)
    return figure


def _erase_and_program(device: Device, outcomes: Sequence[Outcome]) -> Figure:
    figure, grid = _figure(7.0, 2.6, 2, sharey=True)
    for axes, letter, operation, label in (
        (grid[0, 0], "a", "erase", "SOT current (µA)"), (grid[0, 1], "b", "program", "STT current (µA)")
    ):  # fmt: skip
        here = [each for each in outcomes if each.point.operation == operation and each.point.celsius == 25.0]
        current, time = ("sot", "sot_time") if operation == "erase" else ("stt", "stt_time")
        for number, length in enumerate(sorted({getattr(each.point, time) for each in here})):
            chosen = [each for each in here if getattr(each.point, time) == length]
            colour = COLOURS[number % len(COLOURS)]
            _points(axes, chosen, lambda point, key=current: getattr(point, key), colour, f"{length:g} ns")
        _label(axes, letter, f"{operation}, 25 °C")
        axes.set_xlabel(label)
        _error_axis(axes, outcomes)
        axes.legend()
    grid[0, 0].set_ylabel("error")
    return figure


# Trajectories


def trajectories(device: Device, *, seed: int) -> Figure:
    """Draw 64 paths of the magnetisation through the device's first pulse, and the currents above them."""
    operations = ("sas",) if device.geometry == "x" else ("erase", "program")
    figure, grid = _figure(3.5 * len(operations), 3.6, len(operations), 2, sharex="col", height_ratios=(1, 2.4))
    for column, operation in enumerate(operations):
        point = first_pulse(device, operation)
        time, path, currents = paths(device, point, seed=seed)
        easy = path[:, Macrospin(device=device).easy, :]
        top, below = grid[:, column]
        instants = np.arange(len(currents.strip)) * STEP_NS
        top.plot(instants, currents.strip, color=COLOURS[0], label="SOT")
        top.plot(instants, currents.stt, color=COLOURS[1], label="STT")
        top.set_ylabel("current (µA)")
        top.legend(loc="center right")
        _label(top, "ab"[column], f"{operation}, bit {point.state} to {point.target}, {path.shape[2]} trials")
        below.plot(time, easy, color=COLOURS[0], lw=0.4, alpha=0.35)
        below.plot(time, np.median(easy, axis=1), color="black", lw=1.2, label="median")
        below.axhline(0, color="grey", lw=0.5)
        below.set_ylim(-1.05, 1.05)
        below.set_ylabel("m along the easy axis")
        below.set_xlabel("time (ns)")
        below.legend(loc="center right")
    return figure


# Reads


def read_margin(device: Device) -> Figure:
    """Draw each strip position's distance from its reference, with the spread of cells and of the sense amplifier."""
    figure, grid = _figure(7.0, 2.6, 2)
    left, right = grid[0]
    positions = np.arange(reliability.POSITIONS)
    noise = device["read.sense_sigma"]
    for state, (name, shift) in enumerate((("parallel", -0.12), ("antiparallel", 0.12))):
        margin, static = np.array([reliability.sense_margin(device, position, state) for position in positions]).T
        left.bar(positions + shift, margin, width=0.22, color=COLOURS[state], alpha=0.85, label=name)
        left.errorbar(
            positions + shift, margin, yerr=np.hypot(static, noise), fmt="none", ecolor="black", capsize=2, lw=0.8
        )
        error = [max(reliability.mean_read_error(device, position, state), _LOWEST) for position in positions]
        right.semilogy(positions, error, "o-", ms=3, color=COLOURS[state], label=name)
    left.axhline(noise, color="grey", lw=0.8, ls="--", label="sense noise, σ")
    left.set_ylabel("distance from the reference (µA)")
    right.set_ylabel("read error")
    _label(left, "a", "read margin, ±1 σ of cells and noise")
    _label(right, "b", f"mean read error, {int(device['read.phases'])} phases")
    for axes in (left, right):
        axes.set_xticks(positions)
        axes.set_xlabel("position on the strip")
    left.set_ylim(0, left.get_ylim()[1] * 1.3)
    left.legend(ncols=3, loc="upper center")
    right.legend()
    return figure


# Retention


def retention(device: Device) -> Figure:
    """Draw the loss of a cell's state against temperature: the array model's, and with Bloch's law."""
    figure, grid = _figure(7.0, 2.8, 2)
    left, right = grid[0]
    celsius = np.linspace(-40, 125, 67)
    spins = [Macrospin(device=device, celsius=each) for each in celsius]
    scale = device["mtj.stability"] / Macrospin(device=device).stability
    bloch = np.array([spin.stability * scale for spin in spins])
    constant = device["mtj.stability"] * (ROOM_CELSIUS + KELVIN) / (celsius + KELVIN)
    left.plot(celsius, constant, color=COLOURS[0], label="constant magnetisation (the array model)")
    left.plot(celsius, bloch, color=COLOURS[0], ls="--", label="Bloch's law, barrier of the macrospin")
    left.set_ylabel("stability Δ")
    _label(left, "a", "energy barrier over kT")
    left.legend()
    for number, (name, seconds) in enumerate((("1 day", _DAY), ("30 days", 30 * _DAY), ("10 years", 3652.5 * _DAY))):
        for stability, dashes in ((constant, "-"), (bloch, "--")):
            loss = [
                max(reliability.retention_loss(_with_stability(device, each), seconds), _LOWEST) for each in stability
            ]
            right.semilogy(celsius, loss, ls=dashes, color=COLOURS[number], label=name if dashes == "-" else None)
    right.set_ylim(1e-15, 1.5)
    right.set_ylabel("probability that a cell has flipped")
    _label(right, "b", "loss of an MTJ's state; dashed: Bloch's law")
    right.legend()
    for axes in (left, right):
        axes.set_xlabel("temperature (°C)")
        axes.grid(alpha=0.25, lw=0.5)
    return figure


def _with_stability(device: Device, stability: float) -> Device:
    entry = replace(device.parameters["mtj.stability"], value=stability)
    return replace(device, parameters={**device.parameters, "mtj.stability": entry})


# The strip


def strip(device: Device) -> Figure:
    """Draw the four MTJs' currents in one pulse for two patterns; return currents and write errors by pattern."""
    figure, grid = _figure(7.0, 6.8, 2, 3)
    first = device.pulses[0]
    for axes, letter, pattern in ((grid[0, 0], "a", 0b1111), (grid[0, 1], "b", 0b0101)):
        wires = on_strip(device, first, pattern, relaxation=0.5, dt=STEP_NS)
        instants = np.arange(len(wires[0].strip)) * STEP_NS
        for mtj, wire in enumerate(wires):
            axes.plot(instants, wire.strip, color=COLOURS[mtj], label=f"MTJ {mtj}")
            sign = 1 if pattern >> mtj & 1 else -1
            axes.plot(instants, sign * wire.stt, color=COLOURS[mtj], ls=":")
        axes.set_xlabel("time (ns)")
        axes.set_ylabel("current (µA)")
        _label(axes, letter, f"bits {pattern:04b}: strip under each MTJ, STT dotted")
    grid[0, 0].legend(ncols=2)
    for column, staggered in enumerate((True, False)):
        entry = replace(device.parameters["write.staggered_end"], value=int(staggered))
        variant = replace(device, parameters={**device.parameters, "write.staggered_end": entry})
        ends = "STT ends one after another" if staggered else "STT ends all at once"
        axes = grid[1, column]
        _label(axes, "cd"[column], ends)
        current = _by_pattern(axes, partial(_return_current, variant))
        current.set(norm=Normalize(0, 2 * first.stt))
        figure.colorbar(current, ax=axes, label="return current (µA)")
        axes = grid[2, column]
        _label(axes, "ef"[column], f"{ends}: write error")
        error = _by_pattern(axes, partial(_first_write_error, variant))
        error.set(norm=LogNorm(1e-6, 0.1, clip=True))
        figure.colorbar(error, ax=axes, label="probability, first pulse")
    return figure


def _return_current(device: Device, pattern: int, mtj: int) -> float:
    return reliability.strip_current(device, pattern, mtj, device.pulses[0].stt)


def _first_write_error(device: Device, pattern: int, mtj: int) -> float:
    return reliability.write_error(device, device.pulses[0], pattern, mtj, 0)


def _by_pattern(axes: Axes, value: Callable[[int, int], float]) -> AxesImage:
    """Draw ``value(pattern, MTJ)`` for all patterns of a strip."""
    table = np.array([[value(pattern, mtj) for pattern in range(16)] for mtj in range(4)])
    axes.set_xticks(range(16), [f"{pattern:04b}" for pattern in range(16)], rotation=90, fontsize=6)
    axes.set_yticks(range(4))
    axes.set_ylabel("MTJ")
    axes.set_xlabel("bits of MTJs 3 to 0")
    axes.spines[:].set_visible(False)
    return axes.imshow(table, cmap="viridis", aspect="auto")
