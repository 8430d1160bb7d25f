# SPDX-License-Identifier: Apache-2.0
"""``respin board simulate``: a simulated board behind a pseudo-terminal."""

import time

from respin.cli.console import ConfigFile, Preset, configuration, err, out


def simulate(preset: Preset = None, config: ConfigFile = None) -> None:
    """Offer a simulated board at a port, for the other commands, until it is interrupted.

    What answers there is the Verilog of link, machine and memory; bits take 8 cycles of the clock.
    """
    from respin.cli.board.simulated import simulated_board
    from respin.sim.serial_line import PseudoTerminal

    chosen = configuration(preset, config, otherwise="nano")
    err.print(f"{chosen.name}: generating and compiling, if it is not there yet ...", style="dim")
    with simulated_board(chosen) as board, PseudoTerminal(board) as line:
        out.print(f"{chosen.name} at {line.path}", highlight=False)
        out.print(f"for example: respin board info --port {line.path} --wait 5", highlight=False)
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            out.print(f"{board.cycles:,} cycles", highlight=False)
