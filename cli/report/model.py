# SPDX-License-Identifier: Apache-2.0
"""The report of a program as plain data: counts and where they come from, energy, latency, area, endurance,
sensitivity."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Any

from respin.cli.report.measured import Measured, Wear, counts
from respin.cli.report.peers import PEERS
from respin.firmware_model.compiler import INFER, INPUT_AREA, TRAIN
from respin.firmware_model.image import ImageError, ProgramImage
from respin.firmware_model.work import EXTERNAL, Work
from respin.gen.versions import versions
from respin.rtl.config import BLOCK, PLANES, ROW_COLUMNS, AcceleratorConfig
from respin.sim.area import FIGURES, Logic, square_micrometres
from respin.sim.area import parts as area_parts
from respin.sim.cost import EVENTS, PARTS, TERMS, Figure, energies, figures, row_read, sensitivity, swings, years
from respin.sim.device import SOURCES, Device
from respin.sim.reliability import LOSSES_A_YEAR, scrub_period
from respin.sim.tables import READ_CYCLES, table_for

MEASURED, PREDICTED = "measured", "predicted"
PUBLISHED, ASSUMPTION = SOURCES
WRITES = ("rows_verified", "strips_pulsed")
"""Events that hang on values: no field of a job tells them."""

SCRUB_CELSIUS = (27.0, 85.0)
Row = dict[str, Any]


def report(
    image: ProgramImage,
    device: Device,
    costs: Mapping[str, Figure],
    *,
    measured: Measured | None,
    steps_per_day: float,
    factor: float,
    blocks: Mapping[str, Logic] | None = None,
) -> dict[str, Any]:
    """Return the report; energies in J, times in s, areas in mm². What is not known is absent or None, never 0.

    Parameters
    ----------
    image:
        The program.
    device, costs:
        The figures.
    measured:
        What a run counted; without it every count is predicted from the program's fields.
    steps_per_day:
        Training steps a day, for endurance.
    factor:
        By how much each figure moves, down and up.
    blocks:
        What synthesis counted of the machine's blocks; without it the area is that of the memories alone.

    Raises
    ------
    ImageError
        If there is no program for inference.
    """
    if INFER not in image.programs:
        raise ImageError(f"the image must have a program {INFER}; there is {', '.join(image.programs) or 'none'}")
    config, of = image.config, figures(device, costs)
    work = Work(config, read_cycles=int(table_for(config, seed=1)[READ_CYCLES]))
    programs = []
    for name in (INFER, TRAIN):
        if name in image.programs:
            predicted = work.of_program(image.descriptors(name), writes_rows=bool(image.writable_rows(name)))
            found = None if measured is None else measured.counters.get(name)
            seen = {} if found is None else counts(config, found)
            batch = image.tensors[INPUT_AREA].shape[0]
            programs.append(_program(name, predicted, seen, of, config, images=batch, factor=factor))
    return {
        "config": asdict(config),
        "versions": versions(),
        "device": device.name,
        "programs": programs,
        "endurance": _endurance(config, device, None if measured is None else measured.wear, steps_per_day)
        if TRAIN in image.programs
        else None,
        "area": _area(config, device, costs, blocks, factor),
        "scrub": [_scrub(config, device, of, celsius) for celsius in SCRUB_CELSIUS],
        "silicon": _silicon(programs[0], costs, config),
        "figures": [{"name": name, **asdict(figure)} for name, figure in (of | _area_figures(costs)).items()],
        "factor": factor,
    }


def _program(
    name: str,
    predicted: Mapping[str, float],
    seen: Mapping[str, float],
    of: Mapping[str, Figure],
    config: AcceleratorConfig,
    *,
    images: int,
    factor: float,
) -> Row:
    known = {event: count for event, count in predicted.items() if event in EVENTS} | dict(seen)
    if name == INFER:
        known = dict.fromkeys(WRITES, 0) | known  # an inference has nothing to write with
    basis = {event: MEASURED if event in seen else PREDICTED for event in known}
    terms = [
        {
            "part": energy.term.part,
            "event": energy.term.event,
            "what": EVENTS[energy.term.event],
            "count": energy.count,
            "basis": basis[energy.term.event],
            "picojoules_each": energy.each,
            "joules": energy.joules,
            "formula": energy.term.formula,
            "figures": list(energy.term.figures),
            "source": _rests_on(energy.term.figures, of),
        }
        for energy in energies(known, of)
    ]
    joules = sum(term["joules"] for term in terms)
    absent = {term.part for term in TERMS if term.event not in known}
    parts = []
    for part in PARTS:
        energy = sum(term["joules"] for term in terms if term["part"] == part)
        unknown = part in absent
        parts.append(
            {
                "part": part,
                "joules": None if unknown else energy,
                "share": None if unknown else energy / joules,
                "source": _rests_on([name for term in TERMS if term.part == part for name in term.figures], of),
            }
        )
    seconds = known["cycles"] / (config.clock_mhz * 1e6)
    return {
        "program": name,
        "images": images,
        "cycles": known["cycles"],
        "cycles_basis": basis["cycles"],
        "seconds": seconds,
        "joules": joules,
        "complete": not absent,
        "joules_per_image": joules / images,
        "watts": joules / seconds,
        "macs": predicted["macs"],
        "external": {name: predicted[name] for name in EXTERNAL},
        "parts": parts,
        "terms": terms,
        "both": [
            {"event": event, "what": EVENTS[event], "predicted": predicted[event], "measured": seen[event]}
            for event in EVENTS
            if event in predicted and event in seen
        ],
        "sensitivity": [
            {**asdict(swing), "source": of[swing.name].source} for swing in sensitivity(known, of, factor)
        ],
    }


def _rests_on(names: Iterable[str], of: Mapping[str, Figure]) -> str:
    """What may be said of a result: it is an assumption if any of its figures is."""
    return PUBLISHED if all(of[name].source == PUBLISHED for name in names) else ASSUMPTION


def most_pulses(config: AcceleratorConfig) -> int:
    """Pulses that a strip gets in a training step at most.

    A row of a transposed image or of biases holds 32 outputs, and an update writes M of them at a time; a write may be
    retried, and ``erase_program`` takes two commands for each attempt.
    """
    commands = 2 if config.write_scheme == "erase_program" else 1
    return -(-BLOCK // config.slices) * (1 + config.write_retries) * commands


def _endurance(config: AcceleratorConfig, device: Device, wear: Wear | None, steps_per_day: float) -> Row:
    limit, bound = device.parameters["mtj.endurance"], most_pulses(config)
    row: Row = {
        "endurance": limit.value,
        "source": limit.source,
        "steps_per_day": steps_per_day,
        "most_pulses_per_step": bound,
        "years_at_least": years(limit.value, pulses_per_step=bound, steps_per_day=steps_per_day),
        "measured": None,
    }
    if wear is not None and wear.hottest:
        hottest = wear.hottest_per_step
        row["measured"] = {
            "steps": wear.steps,
            "strips": wear.strips,
            "pulses": wear.pulses,
            "changes": wear.changed,
            "mean_pulses_per_step": wear.mean_per_step,
            "hottest_pulses_per_step": hottest,
            "years": years(limit.value, pulses_per_step=hottest, steps_per_day=steps_per_day),
        }
    return row


def _area_figures(costs: Mapping[str, Figure]) -> dict[str, Figure]:
    return {name: costs[name] for name in FIGURES}


def _area(
    config: AcceleratorConfig,
    device: Device,
    costs: Mapping[str, Figure],
    blocks: Mapping[str, Logic] | None,
    factor: float,
) -> Row:
    """What is counted of the machine, and an estimate of the square millimetres that it takes."""
    of, made, each = _area_figures(costs), area_parts(config, blocks), device.parameters["strip.transistors_per_bit"]
    return {
        "parts": [
            {"part": part.name, "mtjs": part.mtjs, **asdict(part.logic), "mm2": 1e-6 * part.square_micrometres(of)}
            for part in made
        ],
        "mm2": 1e-6 * square_micrometres(made, of),
        "logic": blocks is not None,
        "source": _rests_on(of, of),
        "transistors": config.total_rows * ROW_COLUMNS * each.value,
        "transistors_source": each.source,
        "sensitivity": [
            {"name": swing.name, "divided": 1e-6 * swing.divided, "multiplied": 1e-6 * swing.multiplied,
             "source": of[swing.name].source}
            for swing in swings(of, lambda moved: square_micrometres(made, moved), factor)
        ],
    }  # fmt: skip


def _scrub(config: AcceleratorConfig, device: Device, of: Mapping[str, Figure], celsius: float) -> Row:
    """What it costs to read all rows often enough for retention at this temperature; ``period`` None: no period is."""
    try:
        period = scrub_period(device, rows=config.total_rows, celsius=celsius)
    except ValueError:
        period = None
    joules = config.total_rows * row_read({name: figure.value for name, figure in of.items()}) * 1e-12
    return {
        "celsius": celsius,
        "losses_per_year": LOSSES_A_YEAR,
        "period": period,
        "joules": joules,
        "watts": None if period is None else joules / period,
        "source": _rests_on([name for term in TERMS if term.part == "MRAM reads" for name in term.figures], of),
    }


def _silicon(inference: Row, costs: Mapping[str, Figure], config: AcceleratorConfig) -> list[Row]:
    """Energy of an 8-bit multiply-accumulate, here and published."""
    macs = inference["macs"]
    multiplying = ("MRAM reads", "engine", "depthwise")
    array = sum(row["joules"] for row in inference["parts"] if row["part"] in multiplying)
    peak = PLANES * config.beats * (
        config.lanes * costs["engine.bit_mac"].value + costs["engine.accumulate"].value
    ) / BLOCK  # fmt: skip
    basis = "this model, by Horowitz's 45 nm figures and assumptions"
    ours = [("Respin, dot slices alone, every lane busy", peak, "eight planes of a row of 32 weights over 32")]
    if macs:
        padded = "over all multiply-accumulates, channels that pad a word or a row included"
        ours += [
            ("Respin, inference: MRAM reads, engine, depthwise", 1e12 * array / macs, f"those parts {padded}"),
            ("Respin, inference: everything", 1e12 * inference["joules"] / macs, f"all parts {padded}"),
        ]
    rows = [
        {"name": name, "node": "45 nm", "picojoules": value, "published": None, "conversion": how, "basis": basis}
        for name, value, how in ours
    ]
    return rows + [
        {"name": peer.name, "node": peer.node, "picojoules": peer.picojoules, "published": peer.published,
         "conversion": peer.conversion, "basis": "published"}
        for peer in PEERS
    ]  # fmt: skip
