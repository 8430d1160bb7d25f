# SPDX-License-Identifier: Apache-2.0
"""``respin board demo``: training steps of a small module on a board, against golden."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any

import typer
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from respin.cli.board.options import BAUD, WAIT, Baud, Port, Wait, any_machine, preset_there, require_pyserial
from respin.cli.console import (
    BAD_INPUT,
    ConfigFile,
    Json,
    Preset,
    configuration,
    err,
    fail,
    out,
    print_json,
    print_rows,
    require,
    seed_option,
)
from respin.rtl.config import AcceleratorConfig

BATCH = 4
LOG2_RATE = 0
"""Of the learning rate: the largest there is, as a demonstration has few steps."""


def demo(
    port: Port,
    baud: Baud = BAUD,
    preset: Preset = None,
    config: ConfigFile = None,
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 6,
    seed: Annotated[int, seed_option("Of weights, batches and rounding.")] = 1,
    wait: Wait = WAIT,
    as_json: Json = False,
) -> None:
    """Learn digits on a board: load a program, write its weights, take training steps, compare each with golden.

    The network is small enough for every machine: a frozen stem, a module and a head that learn. The logits of each
    step must equal golden's, and so must those of an inference after the last one, which depend on every weight that
    was learned. Without --preset or --config the machine there must be one of the presets.
    """
    require_pyserial()
    require("learn", "torch", "scikit-learn")
    from respin.firmware_model.identity import IdentityError, read_identity, require_identity
    from respin.firmware_model.machine import ProgramError
    from respin.firmware_model.serial_link import LinkError, SerialTransport
    from respin.firmware_model.storage import CapacityError
    from respin.sim.compiled import drive

    chosen = None if preset is None and config is None else configuration(preset, config)
    try:
        transport = SerialTransport(port, baud=baud, answer_seconds=wait)
        found = drive(read_identity(any_machine(transport)))
        chosen = chosen or preset_there(found)
        if chosen is None:
            fail(f"{port}: the machine there is none of the presets: name its file with --config", BAD_INPUT)
        require_identity(found, chosen)
        rows = _run(transport, chosen, steps=steps, seed=seed)
        transport.close()
    except IdentityError as error:
        fail(f"{port}: {error}")
    except ProgramError as error:
        fail(f"{port}: the program ended with an error: {error}")
    except (LinkError, CapacityError) as error:
        fail(str(error))
    wrong = sum(row["wrong"] for row in rows)
    if as_json:
        print_json({"port": port, "machine": chosen.name, "rows": rows, "sent_again": transport.sent_again})
    else:
        print_rows(rows, title=f"{chosen.name} at {port}")
        compared = sum(row["compared"] for row in rows)
        out.print(f"{compared} logits compared with golden, {wrong} differ", highlight=False)
        if transport.sent_again:
            out.print(f"{transport.sent_again} requests had to be sent again: the line is noisy", highlight=False)
    if wrong:
        fail(f"{port}: {wrong} logits differ from golden's")


def _run(transport: Any, config: AcceleratorConfig, *, steps: int, seed: int) -> list[dict[str, Any]]:
    """Run everything on the board; a row of figures for each step, and one for the inference after them."""
    import torch

    from respin.firmware_model.compiler import Compiler
    from respin.firmware_model.machine import Machine, ProgramSession
    from respin.firmware_model.placement import Placement
    from respin.golden import digits
    from respin.golden.small_module import small_module
    from respin.golden.trainer import TrainingState, train_step
    from respin.sim.compiled import drive

    task = digits.load_task(digits.CLASSES)
    network = small_module(task.train_images, seed=seed)
    state = TrainingState.initial(network, seed)
    placement = Placement(config, network, (BATCH, *task.train_images.shape[1:]), training=True)
    image = Compiler(placement).compile(state.parameters)
    machine = Machine(config, transport)
    session = ProgramSession(machine, image, seed=seed)
    rows: list[dict[str, Any]] = []

    def add(name: str, logits: Any, want: Any) -> None:
        wrong = int((torch.from_numpy(logits) != want.tensors[network.loss.logits].flatten(1)).sum())
        counters = drive(machine.counters())
        figures = {"cycles": counters["cycles"], "rows_written": counters["rows_written"]}
        rows.append({"what": name, **figures, "compared": logits.size, "wrong": wrong})

    with _progress(transport) as show:
        with show(f"writing {len(image.content):,} bytes and {placement.rows.used} rows", len(image.content)):
            drive(session.provision())
        order = digits.batch_indices(len(task.train_labels), steps=steps, batch=BATCH, seed=seed)
        for step, index in enumerate(order):
            x, labels = task.train_images[index], task.train_labels[index]
            record = train_step(network, state, x, labels, log2_rate=LOG2_RATE)
            drive(machine.write_fields("CONTROL", "clear_counters"))
            with show(f"training step {step}"):
                drive(session.train(x.numpy(), labels.tolist(), log2_rate=LOG2_RATE))
                add(f"step {step}", drive(session.logits()), record.activations)
            state = record.after
        x = task.test_images[:BATCH]
        drive(machine.write_fields("CONTROL", "clear_counters"))
        with show("inference with what was learned"):
            add("inference", drive(session.infer(x.numpy())), network.forward(x, state.parameters))
    return rows


@contextmanager
def _progress(transport: Any) -> Iterator[Any]:
    """A bar for each part, which bytes of memory on the line move on."""
    moved = TextColumn("{task.completed:,.0f} bytes")
    columns = (TextColumn("{task.description}"), BarColumn(), moved, TimeElapsedColumn())
    with Progress(*columns, console=err) as progress:

        @contextmanager
        def show(name: str, total: int | None = None) -> Iterator[None]:
            bar = progress.add_task(name, total=total)
            transport.on_moved = lambda count: progress.advance(bar, count)
            yield
            transport.on_moved = None
            progress.update(bar, total=progress.tasks[bar].completed or 1, completed=progress.tasks[bar].completed or 1)

        yield show
