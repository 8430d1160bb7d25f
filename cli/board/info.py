# SPDX-License-Identifier: Apache-2.0
"""``respin board info``: which machine is there, and what it has counted."""

from typing import Any

from respin.cli.board.options import BAUD, WAIT, Baud, Port, Wait, any_machine, preset_there, require_pyserial
from respin.cli.console import Json, fail, out, print_json, print_rows
from respin.rtl.config import WRITE_SCHEMES


def info(port: Port, baud: Baud = BAUD, wait: Wait = WAIT, as_json: Json = False) -> None:
    """Say which machine answers at a port: version, configuration, state and counters."""
    require_pyserial()
    from respin.firmware_model.identity import read_identity, version_of, without_version
    from respin.firmware_model.serial_link import LinkError, SerialTransport
    from respin.sim.compiled import drive

    try:
        transport = SerialTransport(port, baud=baud, answer_seconds=wait)
        machine = any_machine(transport)
        found = drive(read_identity(machine))
        names = ("running", "ready", "done", "error")
        status = {name: drive(machine.read_field("STATUS", name)) for name in names}
        counters = drive(machine.counters())
        transport.close()
    except LinkError as error:
        fail(str(error))
    config: dict[str, Any] = {name: value for name, value in without_version(found).items() if name != "magic"}
    scheme = config["write_scheme"]
    config["write_scheme"] = WRITE_SCHEMES[scheme] if scheme < len(WRITE_SCHEMES) else scheme
    known = preset_there(found)
    if as_json:
        print_json({
            "port": port,
            "version": version_of(found),
            "preset": None if known is None else known.name,
            "configuration": config,
            "status": status,
            "counters": counters,
        })
        return
    what = "no preset" if known is None else f"preset [b]{known.name}[/b]"
    out.print(f"{port}: a machine made by Respin {version_of(found)}, {what}", highlight=False)
    out.print(f"state: {', '.join(name for name, value in status.items() if value) or 'none'}", highlight=False)
    for title, values in (("configuration", config), ("counters", counters)):
        print_rows([{"": name.replace("_", " "), "value": value} for name, value in values.items()], title=title)
