# SPDX-License-Identifier: Apache-2.0
"""``respin device campaign``: what becomes of rows under each fault, beside the computed bound of silent errors."""

import json as json_text
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from respin.cli.console import BAD_INPUT, Json, err, fail, figure, out, print_json, print_rows, require
from respin.cli.device.choice import Name, chosen
from respin.cli.device.style import STYLE
from respin.cli.output import require_folder, whole, write_whole
from respin.golden.memory.secded import CODEWORDS

MEANING = (
    "bound: silent codewords that the code's miscorrections let expect, at most; CRC finds: silent ones that change "
    "their region's CRC-32; rows moved: to spares; rows lost: their write was reported as failed"
)
MOST_ROWS = 1 << 16
SEEDS = 1 << 32

Rows = Annotated[int, typer.Option("--rows", min=1, max=MOST_ROWS, help="Rows of content in each trial.")]
Seed = Annotated[int, typer.Option("--seed", min=0, max=SEEDS - 1, help="Seed of content and faults.")]
Only = Annotated[
    str | None,
    typer.Option("--only", metavar="LIST", help='Some of the faults, as "read flips,dead rows".', show_default=False),
]
Folder = Annotated[
    Path | None,
    typer.Option(
        "--out", "-o", help="Also write campaign.json, campaign.md and campaign.svg there.",
        show_default=False,
    ),
]  # fmt: skip


def campaign(
    name: Name = "default", rows: Rows = 1000, seed: Seed = 1, only: Only = None, json: Json = False,
    folder: Folder = None,
) -> None:  # fmt: skip
    """Write rows into an array with faults, read them back, and count codewords: survived, detected, silently wrong.

    Controller and array are golden's, equal to the hardware bit for bit; the array is that of the configuration
    `default` with as many rows as it takes. Beside what was silent stands what SECDED's miscorrections let expect.
    """
    device = chosen(name)
    from respin.cli.device.faults import cases, configuration_for, stays
    from respin.cli.device.trial import run

    if folder is not None:
        require("learn", "matplotlib")
    config = configuration_for(device, rows)
    every = cases(device, config)
    kinds = list(dict.fromkeys(case.kind for case in every))
    wanted = kinds if only is None else _names(only, kinds)
    selected = [case for case in every if case.kind in wanted]
    if folder is not None:
        require_folder(folder)
    done = []
    with _progress(len(selected)) as begin:
        for case in selected:
            begin(case.kind)
            tally = run(case, device, config, rows=rows, seed=seed)
            bound = case.bound * CODEWORDS * rows
            row = {"fault": case.kind, "rate": case.condition, "when": case.when, "bound": bound}
            done.append(row | asdict(tally))
    record = {
        "device": device.name, "rows": rows, "seed": seed, "banks": config.banks, "mram_rows": config.mram_rows,
        "spare_rows": config.spare_rows, "write_retries": config.write_retries, "cases": done,
        "retention": stays(device, rows) if "retention" in wanted else [],
    }  # fmt: skip
    if folder is not None:
        _write(folder, record)
    if json:
        print_json(record)
    else:
        _print(record)
    if any(each["silent_of_few"] for each in done):
        fail("codewords with at most two wrong bits were silently wrong")


def _names(only: str, kinds: list[str]) -> list[str]:
    wanted = only.split(",")
    for each in wanted:
        if each not in kinds:
            fail(f"--only must be some of {'; '.join(kinds)}, with commas between them, not {each!r}", BAD_INPUT)
    return wanted


@contextmanager
def _progress(trials: int) -> Iterator[Callable[[str], None]]:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=err, transient=True) as progress:
        task = progress.add_task("", total=trials, completed=-1)
        yield lambda kind: progress.update(task, description=kind, advance=1)


def _rows(record: dict[str, Any]) -> list[dict[str, Any]]:
    timed = any(each["when"] for each in record["cases"])
    return [
        {
            "fault": each["fault"], "rate": each["rate"], **({"when": each["when"]} if timed else {}),
            "intact": each["intact"], "corrected": each["corrected"], "detected": each["detected"],
            "silent": each["silent"], "bound": each["bound"], "CRC_finds": each["silent"] - each["silent_past_crc"],
            "rows_moved": each["rows_moved"], "rows_lost": len(each["rows_lost"]),
        }
        for each in record["cases"]
    ]  # fmt: skip


def _titles(record: dict[str, Any]) -> tuple[str, str]:
    rows = record["rows"]
    return (
        f"{record['device']}: {rows:,} rows of {CODEWORDS} codewords a trial, seed {record['seed']}",
        f"retention of {rows:,} rows by the closed forms",
    )


def _print(record: dict[str, Any]) -> None:
    trials, retention = _titles(record)
    print_rows(_rows(record), title=trials)
    if record["retention"]:
        print_rows(record["retention"], title=retention)
    out.print(MEANING, style="dim", highlight=False)


def _write(folder: Path, record: dict[str, Any]) -> None:
    import matplotlib as mpl

    from respin.cli.device.campaign_picture import outcomes

    write_whole(folder / "campaign.json", json_text.dumps(record) + "\n")
    tables = [
        f"{title}:\n\n{_markdown(rows)}"
        for title, rows in zip(_titles(record), (_rows(record), record["retention"]), strict=True)
        if rows
    ]
    write_whole(folder / "campaign.md", "\n".join([*tables, MEANING, ""]))
    with mpl.rc_context(STYLE), whole(folder / "campaign.svg") as beside:
        outcomes(record).savefig(beside, metadata={"Date": None})
    for path in ("campaign.json", "campaign.md", "campaign.svg"):
        err.print(str(folder / path), highlight=False, soft_wrap=True)


def _markdown(rows: list[dict[str, Any]]) -> str:
    lines = [[key.replace("_", " ") for key in rows[0]], ["---"] * len(rows[0])]
    lines += [[figure(value) for value in row.values()] for row in rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
