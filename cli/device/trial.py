# SPDX-License-Identifier: Apache-2.0
"""One trial of a campaign: rows go through golden's controller into golden's array with a fault, and are read back."""

import zlib
from dataclasses import dataclass

import numpy as np

from respin.cli.device.faults import Case
from respin.golden.memory import Memory, Outcome
from respin.golden.memory.secded import CODEWORDS, decode, encode, parity_columns, syndromes, to_codewords
from respin.rtl.config import ROW_WEIGHTS, AcceleratorConfig
from respin.sim.defects import draw_defects
from respin.sim.device import Device
from respin.sim.tables import fault_table

REGION_ROWS = 64
"""Rows under one CRC-32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Tally:
    """What became of the rows of a trial.

    Parameters
    ----------
    intact, corrected, detected, silent:
        Codewords: right as read; right once corrected; flagged as uncorrectable, or wrong in a row whose write was
        reported as failed; wrong and nothing said so.
    silent_rows:
        Rows with a silent codeword.
    silent_of_few:
        Silent codewords with at most two wrong bits. SECDED has none.
    silent_past_crc:
        Silent codewords in regions of ``REGION_ROWS`` rows whose CRC-32 is nevertheless right.
    rows_moved:
        Spares that stand for a row.
    rows_lost:
        Rows whose write was reported as failed: no spare took them.
    rows_unreadable:
        Rows with a codeword that was flagged or was wrong in a row reported as lost.
    """

    intact: int
    corrected: int
    detected: int
    silent: int
    silent_rows: int
    silent_of_few: int
    silent_past_crc: int
    rows_moved: int
    rows_lost: list[int]
    rows_unreadable: list[int]


def run(case: Case, device: Device, config: AcceleratorConfig, *, rows: int, seed: int) -> Tally:
    """Do a trial with random content in ``rows`` rows; the same arguments give the same tally."""
    drawn = zlib.crc32(f"{seed} {case.kind} {case.condition}".encode())
    content = np.random.default_rng(drawn).integers(-128, 128, (rows, ROW_WEIGHTS)).astype(np.int8)
    table = fault_table(device, clock_mhz=config.clock_mhz, seed=drawn, rates=case.rates)
    defects = [
        draw_defects(config.mram_rows, bank=bank, seed=drawn, rates=case.defects) for bank in range(config.banks)
    ]
    memory = Memory(config=config, table=table, defects=defects)
    lost = []
    if case.written:
        for row, weights in enumerate(content):
            if memory.write(row, weights).outcome not in (Outcome.OK, Outcome.DEFECT):
                lost.append(row)
    else:
        memory.preload(0, content)
    for _ in range(case.steps):
        memory.age()
        for row in range(config.first_spare_row) if case.scrubbed else ():
            memory.scrub(row)
    return judge(memory, content, lost)


def judge(memory: Memory, content: np.ndarray, lost: list[int]) -> Tally:
    """Read the rows from 0 on, which should be ``content``; the writes of those in ``lost`` were reported as failed."""
    rows = len(content)
    columns = memory.raw_read_rows(np.arange(rows))
    gray = memory.config.gray_code
    syndrome = syndromes(np.packbits(to_codewords(columns), axis=-1, bitorder="little"))
    flagged = (syndrome != 0) & ~np.isin(syndrome, parity_columns())
    decoded = decode(columns, gray=gray).weights
    wrong = (decoded != content).reshape(rows, CODEWORDS, -1).any(axis=-1)
    reported = np.isin(np.arange(rows), lost)[:, None]
    detected = flagged | (wrong & reported)
    silent = wrong & ~detected
    few = to_codewords(columns ^ encode(content, gray=gray)).sum(axis=-1) <= 2
    matches = [
        zlib.crc32(decoded[start : start + REGION_ROWS].tobytes())
        == zlib.crc32(content[start : start + REGION_ROWS].tobytes())
        for start in range(0, rows, REGION_ROWS)
    ]
    missed = np.repeat(matches, REGION_ROWS)[:rows, None]
    return Tally(
        intact=int((~wrong & (syndrome == 0)).sum()),
        corrected=int((~wrong & (syndrome != 0) & ~flagged).sum()),
        detected=int(detected.sum()),
        silent=int(silent.sum()),
        silent_rows=int(silent.any(axis=1).sum()),
        silent_of_few=int((silent & few).sum()),
        silent_past_crc=int((silent & missed).sum()),
        rows_moved=sum(entry >> 22 == 1 for entry in memory.spares.entries),
        rows_lost=lost,
        rows_unreadable=np.flatnonzero(detected.any(axis=1)).tolist(),
    )
