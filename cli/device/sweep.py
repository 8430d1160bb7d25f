# SPDX-License-Identifier: Apache-2.0
"""``respin device sweep``: write errors of a device from the macrospin solver."""

import itertools
import os
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from respin.cli.console import BAD_INPUT, Json, err, fail, out, print_json, print_rows, require, seed_option
from respin.cli.device.choice import Name, chosen, require_solver
from respin.cli.output import require_file
from respin.sim.device import DEVICE_FOLDER, Device

if TYPE_CHECKING:
    from collections.abc import Iterator

    from respin.sim.physics.sweep import Outcome
    from respin.sim.physics.trials import Point

TRIALS = 20_000


def _values(option: str, text: str | None, low: float, high: float) -> list[float] | None:
    if text is None:
        return None
    try:
        values = [float(part) for part in text.split(",")]
    except ValueError:
        values = []
    if not values or not all(low <= value <= high for value in values):
        fail(f"{option} must be numbers in {low:g}..{high:g} with commas between them, not {text!r}", BAD_INPUT)
    return values


def _option(name: str, meaning: str) -> Any:
    return typer.Option(name, metavar="LIST", help=meaning, show_default=False)


Sot = Annotated[str | None, _option("--sot", "SOT currents in uA, as 280,315,400.")]
Stt = Annotated[str | None, _option("--stt", "STT currents in uA.")]
Pulse = Annotated[str | None, _option("--pulse", "Lengths of the SOT pulse in ns.")]
Tail = Annotated[
    str | None, _option("--tail", "Times in ns by which STT outlasts SOT; STT's length where it is alone.")
]
Celsius = Annotated[str | None, _option("--celsius", "Temperatures.")]
Out = Annotated[str | None, _option("--out-of-plane", "Effective out-of-plane fields in T.")]
Operation = Annotated[
    str | None,
    typer.Option(
        "--operation", help="sas, or on geometry y erase (SOT alone) or program (STT alone).", show_default=False
    ),
]
Trials = Annotated[int, typer.Option("--trials", min=64, help="Trials of each point.")]
Seed = Annotated[int, seed_option("Seed of the thermal field.")]
Workers = Annotated[
    int | None, typer.Option("--workers", min=1, help="Threads; one a core unless given.", show_default=False)
]
Scheduler = Annotated[
    str | None,
    typer.Option("--scheduler", metavar="ADDRESS", help="Run on the Dask cluster there.", show_default=False),
]
File = Annotated[
    Path | None,
    typer.Option("--out", "-o", help="The table (CSV); build/device/NAME.csv unless given.", show_default=False),
]
Fresh = Annotated[bool, typer.Option("--fresh", help="Run trials even where a table holds their results.")]


def sweep(
    name: Name = "default", operation: Operation = None, sot: Sot = None, stt: Stt = None, pulse: Pulse = None,
    tail: Tail = None, celsius: Celsius = None, out_of_plane: Out = None, trials: Trials = TRIALS, seed: Seed = 1,
    workers: Workers = None, scheduler: Scheduler = None, file: File = None, fresh: Fresh = False, json: Json = False,
) -> None:  # fmt: skip
    """Count write errors of single MTJs over current, pulse, tail, temperature and out-of-plane field.

    Without a list the points are the standard ones, whose results come with the shipped devices and are shown at once.
    With lists they are all combinations of what is listed; whatever is not is that of the first pulse at 27 °C. Results
    are kept in the table as points are done; the same command goes on where it was interrupted.
    """
    device = chosen(name)
    require_solver()
    from respin.sim.physics.sweep import (
        SweepError,
        read_table,
        standard_outcomes,
        standard_points,
        standard_table,
        write_table,
    )  # fmt: skip

    lists = {
        "sot": _values("--sot", sot, 0, 1e5),
        "stt": _values("--stt", stt, 0, 1e5),
        "pulse": _values("--pulse", pulse, 0, 100),
        "tail": _values("--tail", tail, 0, 100),
        "celsius": _values("--celsius", celsius, -273, 1000),
        "out_of_plane": _values("--out-of-plane", out_of_plane, -5, 5),
    }
    standard = operation is None and not any(lists.values())
    points = standard_points(device) if standard else _product(device, operation, lists)
    _check(device, points)
    path = file or Path("build") / "device" / f"{device.name}.csv"
    try:
        known = read_table(path, device, seed=seed) if path.is_file() and not fresh else []
    except SweepError as error:
        fail(f"{error}; name another file with --out, or start it anew with --fresh", BAD_INPUT)
    shipped = standard_outcomes(device) if standard and not known and not fresh else []
    if shipped:
        _print(device, shipped, json=json, source=str(standard_table(device)))
        return
    require_file(path)
    kept = {each.point: each for each in known}
    missing = [point for point in points if point not in kept or kept[point].trials < trials]
    with _executor(workers, scheduler) as executor, _progress(len(missing) * trials) as advance:
        for outcome in _outcomes(device, missing, trials, seed, executor, advance):
            kept[outcome.point] = outcome
            write_table(path, device, list(kept.values()), seed=seed)
    chosen_points = [kept[point] for point in points]
    write_table(
        path, device, [*chosen_points, *(each for each in kept.values() if each.point not in points)], seed=seed
    )
    _print(device, chosen_points, json=json, source=str(path))


def _outcomes(
    device: Device, points: "list[Point]", trials: int, seed: int, executor: Executor, advance: Callable[[int], None]
) -> "Iterator[Outcome]":
    from respin.sim.physics.sweep import run

    for count, outcome in run(device, points, trials=trials, seed=seed, executor=executor):
        advance(count)
        if outcome is not None:
            yield outcome


def _check(device: Device, points: "list[Point]") -> None:
    """End with one line where the physics has no answer: no easy axis, a temperature beyond the magnet's."""
    import numpy as np

    from respin.sim.physics.macrospin import Macrospin

    for celsius, field in dict.fromkeys((point.celsius, point.out_of_plane) for point in points):
        try:
            spin = Macrospin(device=device, celsius=celsius, out_of_plane=field)
            spin.equilibrium(np.random.default_rng(0), 1, bit=0)
        except ValueError as error:
            fail(str(error), BAD_INPUT)


def _product(device: Device, operation: str | None, lists: dict[str, list[float] | None]) -> "list[Point]":
    from respin.sim.physics.pulses import OPERATIONS
    from respin.sim.physics.sweep import with_tail
    from respin.sim.physics.trials import first_pulse

    operation = operation or ("sas" if device.geometry == "x" else "erase")
    if operation not in OPERATIONS:
        fail(f"--operation must be one of {', '.join(OPERATIONS)}, not {operation!r}", BAD_INPUT)
    first = first_pulse(device, operation)
    alone = operation == "program"
    tail = first.stt_time if alone else device["write.stt_start"] + first.stt_time - first.sot_time
    points = []
    for sot, stt, pulse, after, celsius, field in itertools.product(
        lists["sot"] or [first.sot], lists["stt"] or [first.stt], lists["pulse"] or [first.sot_time],
        lists["tail"] or [tail], lists["celsius"] or [first.celsius], lists["out_of_plane"] or [first.out_of_plane],
    ):  # fmt: skip
        point = replace(first, sot=sot, stt=stt, celsius=celsius, out_of_plane=field)
        point = replace(point, sot_time=pulse, stt_time=after) if alone else with_tail(device, point, pulse, after)
        if point.stt_time < 0:
            fail(f"--tail must leave STT, which starts at {device['write.stt_start']:g} ns, some time", BAD_INPUT)
        points.append(point)
    return list(dict.fromkeys(points))


@contextmanager
def _executor(workers: int | None, scheduler: str | None) -> "Iterator[Executor]":
    if scheduler is None:
        with ThreadPoolExecutor(workers or os.cpu_count()) as executor:
            yield executor
        return
    require("cluster", "distributed")
    from distributed import Client

    try:
        client = Client(scheduler, timeout="10s")
    except (OSError, ValueError) as error:
        fail(f"--scheduler {scheduler}: {str(error) or 'does not answer'}")
    with client, client.get_executor(pure=False) as executor:
        yield executor


@contextmanager
def _progress(trials: int) -> "Iterator[Callable[[int], None]]":
    columns = (TextColumn("trials"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("trials", total=trials)
        yield lambda count: progress.advance(task, count)


def _print(device: Device, outcomes: "list[Outcome]", *, json: bool, source: str) -> None:
    from respin.sim.physics.sweep import estimate, fit_plane

    plane = fit_plane(device, outcomes) if device.geometry == "x" else None
    rows = []
    for each in outcomes:
        point, (low, high) = each.point, each.interval
        rows.append({
            "operation": point.operation, "SOT_uA": f"{point.sot:g}", "SOT_ns": f"{point.sot_time:g}",
            "STT_uA": f"{point.stt:g}", "STT_ns": f"{point.stt_time:g}", "celsius": f"{point.celsius:g}",
            "B_out_T": f"{point.out_of_plane:g}", "bits": f"{point.state}→{point.target}", "trials": each.trials,
            "errors": each.errors, "estimate": estimate(device, each, plane), "low_95": low, "high_95": high,
            "extrapolated": each.extrapolated,
        })  # fmt: skip
    if json:
        print_json({"device": device.name, "table": source, "rows": rows})
        return
    shown = [
        {
            "SOT": f"{row['SOT_uA']} µA {row['SOT_ns']} ns",
            "STT": f"{row['STT_uA']} µA {row['STT_ns']} ns",
            "°C": row["celsius"],
            "B_out T": row["B_out_T"],
            "bit": row["bits"],
            "wrong": f"{row['errors']}/{row['trials']}",
            "error": f"{row['estimate']:.1e}{'*' if row['extrapolated'] else ''}",
            "95 %": f"{row['low_95']:.0e}..{row['high_95']:.0e}",
        }
        for row in rows
    ]
    operations = ", ".join(dict.fromkeys(row["operation"] for row in rows))
    print_rows(shown, title=f"write errors ({operations}) of {device.name}, single MTJs")
    out.print("intervals by Clopper and Pearson; *: extrapolated, no trial went wrong", highlight=False)
    if plane is not None:
        out.print(
            f"fit, for a device file: write.sot_reference {plane.sot:g} uA, write.stt_reference {plane.stt:g} uA, "
            f"write.probit_reference {plane.probit:.2f}, write.probit_per_sot {plane.per_sot:.4f} 1/uA, "
            f"write.probit_per_stt {plane.per_stt:.4f} 1/uA",
            highlight=False, soft_wrap=True,
        )  # fmt: skip
    where = Path(source)
    out.print(where.name if where.is_relative_to(DEVICE_FOLDER) else source, highlight=False, soft_wrap=True)
