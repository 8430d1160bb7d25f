# SPDX-License-Identifier: Apache-2.0
"""The faults of a campaign: kinds and rates, what a bank model needs to have them, and the computed bound of each."""

import math
from dataclasses import dataclass, field, replace
from typing import Any

from respin.cli.span import span
from respin.golden.memory.miscorrection import silent_probability
from respin.golden.memory.secded import CODE_BITS, CODEWORDS
from respin.rtl.config import AcceleratorConfig, preset
from respin.sim.defects import DefectRates
from respin.sim.device import Device
from respin.sim.reliability import YEAR, retention_loss, scrub_period
from respin.sim.tables import NO_FAULTS, FaultRates

DAY = 86400.0
"""Codewords beyond repair that a scrubber may leave."""
PASSES = 4
"""Passes of the scrubber in the time of a retention case."""
STAYS = (
    ("27 °C, 1 day", 27.0, DAY), ("27 °C, 10 years", 27.0, 10 * YEAR), ("85 °C, 30 days", 85.0, 30 * DAY),
    ("85 °C, 10 years", 85.0, 10 * YEAR), ("125 °C, 10 years", 125.0, 10 * YEAR),
)  # fmt: skip
"""Temperatures and times of the retention cases."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Case:
    """One fault at one rate.

    Parameters
    ----------
    kind, condition, when:
        What fails, how often, and when or with what against it: its row in the table.
    probability:
        Rate of the fault, per MTJ, strip or row; of several faults at once, the write errors'.
    rates, defects:
        For the bank models.
    written:
        Rows are written through the controller with the fault there; else they are good and the fault comes after.
    steps:
        Ageing steps before the rows are read.
    scrubbed:
        The scrubber passes over all rows after each step.
    bound:
        Probability that a codeword is read silently wrong: an upper bound.
    exact:
        It is the probability itself, and codewords are independent.
    """

    kind: str
    condition: str
    when: str = ""
    probability: float
    rates: FaultRates = NO_FAULTS
    defects: DefectRates = field(default_factory=DefectRates)
    written: bool = False
    steps: int = 0
    scrubbed: bool = False
    bound: float = 0.0
    exact: bool = False


def at_least(least: int, bits: int, probability: float) -> float:
    """Probability that ``least`` or more of ``bits`` independent events happen."""
    return math.fsum(
        math.comb(bits, count) * probability**count * (1 - probability) ** (bits - count)
        for count in range(least, bits + 1)
    )


def configuration_for(device: Device, rows: int) -> AcceleratorConfig:
    """Return the preset `default` with a write scheme that the device can do and the fewest MRAM rows for ``rows``."""
    scheme = "erase_program" if device.supports_erase else "sas"
    config = replace(preset("default"), name="campaign", write_scheme=scheme, mram_rows=16)
    while config.usable_rows < rows:
        config = replace(config, mram_rows=2 * config.mram_rows)
    return config


def _together(write: float, read: float, stuck: float, config: AcceleratorConfig) -> float:
    """Bound for write errors, read flips and stuck cells at once, where a comparison may overlook a wrong bit.

    A bit is read wrong if it is stuck, was stored wrong, or flips now. It is stored wrong where the first comparison
    missed that it differs; or where a pulse failed it, and then a comparison missed it, or it was the last pulse: the
    strip looked wrong each time, by other errors or for a stuck cell. Silence needs three such bits, in the row or in
    a spare tried after it.
    """
    looks_wrong = 1 - ((1 - write) * (1 - read)) ** 4
    last = looks_wrong**config.write_retries + 1 - (1 - stuck) ** 4
    stored = read + write * (config.write_retries * read + last)
    wrong = min(1.0, stored + stuck + read)
    return min(1.0, (1 + config.spare_rows) * at_least(3, CODE_BITS, wrong))


def cases(device: Device, config: AcceleratorConfig) -> list[Case]:
    """The campaign's cases.

    What a write has compared without flips has at most one wrong bit in a codeword or is reported, so the bound is 0
    there. Stuck cells are wrong with every other content.
    """
    found = [
        Case(
            kind="write errors", condition=f"{rate:g}", probability=rate, written=True,
            rates=replace(NO_FAULTS, write_error=rate, erase_error=rate),
        )
        for rate in (1e-2, 1e-1, 3e-1)
    ]  # fmt: skip
    found += [
        Case(
            kind="read flips", condition=f"{rate:g}", probability=rate, rates=replace(NO_FAULTS, read_error=rate),
            bound=silent_probability(rate), exact=True,
        )
        for rate in (1e-4, 1e-3, 1e-2, 3e-2)
    ]  # fmt: skip
    for name, parameter, rates in (
        ("stuck cells", "stuck_cells", (1e-4, 1e-3, 1e-2)),
        ("dead strips", "dead_strips", (1e-4, 1e-3, 1e-2)),
        ("dead rows", "dead_rows", (2e-3, 1e-2, 1e-1)),
    ):
        for later in (False, True):
            for rate in rates:
                silent = rate * silent_probability(0.5) if name == "dead rows" else silent_probability(rate / 2)
                found.append(
                    Case(
                        kind=name, condition=f"{rate:g}", when="after the write" if later else "before the write",
                        probability=rate, written=not later, defects=DefectRates(**{parameter: rate}),
                        bound=silent if later else 0.0, exact=later and name == "stuck cells",
                    )
                )  # fmt: skip
    for write, read, stuck in ((1e-2, 1e-4, 1e-4), (1e-1, 1e-3, 1e-3)):
        found.append(
            Case(
                kind="write + read + stuck", condition=f"{write:g}, {read:g}, {stuck:g}",
                probability=write, written=True,
                rates=replace(NO_FAULTS, write_error=write, erase_error=write, read_error=read),
                defects=DefectRates(stuck_cells=stuck), bound=_together(write, read, stuck, config),
            )
        )  # fmt: skip
    for scrubbed in (False, True):
        for condition, celsius, seconds in STAYS:
            found.append(_retention(device, condition, celsius, seconds, scrubbed=scrubbed))
    return found


def _retention(device: Device, condition: str, celsius: float, seconds: float, *, scrubbed: bool) -> Case:
    """A stay at a temperature.

    Silence takes three losses in a codeword, whatever a scrubber did between them; it may itself write back what it
    decoded wrongly. No more than half of the cells are wrong: they are random then.
    """
    steps = PASSES if scrubbed else 1
    loss = min(retention_loss(device, seconds / steps, celsius), 0.5)
    return Case(
        kind="retention", condition=condition, when=f"{PASSES} scrubs" if scrubbed else "no scrub",
        probability=retention_loss(device, seconds, celsius), rates=replace(NO_FAULTS, retention=loss), steps=steps,
        scrubbed=scrubbed, bound=at_least(3, CODE_BITS * steps, loss) if scrubbed else silent_probability(loss),
        exact=not scrubbed,
    )  # fmt: skip


def stays(device: Device, rows: int) -> list[dict[str, Any]]:
    """Retention from the closed forms alone: what each stay costs ``rows`` rows, and how often to scrub them there."""
    found = []
    for condition, celsius, seconds in STAYS:
        loss = min(retention_loss(device, seconds, celsius), 0.5)
        try:
            period = span(scrub_period(device, rows=rows, celsius=celsius))
        except ValueError:
            period = "less than 1 ms"
        found.append({
            "unpowered": condition,
            "cells lost": loss,
            "codewords beyond repair": rows * CODEWORDS * at_least(2, CODE_BITS, loss),
            "scrub within": period,
        })  # fmt: skip
    return found
