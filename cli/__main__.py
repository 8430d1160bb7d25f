# SPDX-License-Identifier: Apache-2.0
"""Where ``respin`` begins: the modules of its commands take half a second to import, and Ctrl-C ends that too."""

import signal


def main() -> None:
    """Import the commands, then run the command line."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from respin.cli.main import main as run

    signal.signal(signal.SIGINT, signal.default_int_handler)
    run()


if __name__ == "__main__":
    main()
