# SPDX-License-Identifier: Apache-2.0
"""Where ``respin`` begins: the modules of its commands take half a second to import, and Ctrl-C ends that too.

A signal that asks to end is as Ctrl-C: compilers, simulators and runs that a command started end with it.
"""

import signal


def main() -> None:
    """Import the commands, then run the command line."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from respin.cli.main import main as run

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) == signal.SIG_DFL:  # nohup ignores SIGHUP
            signal.signal(number, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
