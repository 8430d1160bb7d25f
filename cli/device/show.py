# SPDX-License-Identifier: Apache-2.0
"""``respin device show``: a device's parameters with their units and sources."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from respin.cli.console import Json, out, print_json, print_rows
from respin.cli.device.choice import Name, chosen, require_solver
from respin.sim.device import Device

Section = Annotated[
    str | None, typer.Option("--section", help="Only this section, as mtj or write.", show_default=False)
]


def show(name: Name = "default", section: Section = None, json: Json = False) -> None:
    """Show a device's parameters, with what follows from them.

    "assumption" marks what no publication gives: the figures of whoever has a foundry's belong in a file of one's own.
    """
    device = chosen(name)
    parameters = {
        key: each for key, each in device.parameters.items() if section is None or key.startswith(f"{section}.")
    }
    if not parameters:
        sections = dict.fromkeys(key.split(".")[0] for key in device.parameters)
        raise typer.BadParameter(f"must be one of {', '.join(sections)}, not {section!r}", param_hint="--section")
    require_solver()
    derived = _derived(device)
    if json:
        print_json({
            "device": device.name,
            "geometry": device.geometry,
            "parameters": {key: asdict(each) for key, each in parameters.items()},
            "pulses": [asdict(pulse) for pulse in device.pulses],
            "derived": {row["derived"]: row["value"] for row in derived},
        })  # fmt: skip
        return
    title = f"{device.name}, geometry {device.geometry}"
    rows = [
        {"parameter": key, "value": f"{each.value:g}", "unit": each.unit, "source": each.source}
        for key, each in parameters.items()
    ]
    print_rows(rows, title=title)
    if section is None:
        entries = {
            pulse: {
                "pulse": index, "SOT uA": f"{pulse.sot:g}", "ns": f"{pulse.sot_time:g}", "STT uA": f"{pulse.stt:g}",
                "STT ns": f"{pulse.stt_time:g}",
            }
            for index, pulse in reversed(list(enumerate(device.pulses)))
        }  # fmt: skip
        print_rows(
            list(entries.values())[::-1], title=f"pulse table ({device.pulse_source}); a retry takes the next one"
        )
    print_rows(derived, title="what follows from them at 27 °C")
    out.print("write errors: respin device sweep; pictures: respin device plot", style="dim", highlight=False)


SCRUBBED_ROWS = 4096
"""Rows of the preset `default`."""


def _derived(device: Device) -> list[dict[str, Any]]:
    from respin.sim.physics.demagnetisation import elliptic_cylinder
    from respin.sim.physics.macrospin import Macrospin
    from respin.sim.reliability import scrub_period

    spin, pulse = Macrospin(device=device), device.pulses[0]
    long, short, _ = elliptic_cylinder(device["mtj.length"], device["mtj.width"], device["mtj.free_layer"])
    easy, others = spin.hard[spin.easy], [spin.hard[axis] for axis in range(3) if axis != spin.easy]
    critical = device["mtj.damping"] * (sum(others) - 2 * easy) / 2
    figures = {
        "stability of the macrospin": (spin.stability, "1"),
        "demagnetisation of the ellipse, long axis": (long, "1"),
        "demagnetisation of the ellipse, short axis": (short, "1"),
        "damping-like SOT of the first pulse": (pulse.sot * spin.sot_field * 1e3, "mT"),
        "Oersted field of the first pulse": (pulse.sot * spin.oersted_field * 1e3, "mT"),
        "damping-like STT of the first pulse": (pulse.stt * spin.stt_field * 1e3, "mT"),
        "critical STT current without heat": (critical / spin.stt_field, "uA"),
        "VCMA": (spin.vcma_field * 1e3, "mT/V"),
        "resistance of the strip": (device.strip_resistance, "ohm"),
        f"all {SCRUBBED_ROWS:,} rows scrubbed within, for 0.01 codewords lost a year": (
            scrub_period(device, rows=SCRUBBED_ROWS), "s"
        ),
    }
    return [{"derived": key, "value": round(float(value), 4), "unit": unit} for key, (value, unit) in figures.items()]
