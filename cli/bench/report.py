# SPDX-License-Identifier: Apache-2.0
"""The form that every bench's figures come out in."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from respin.cli.console import print_json, print_rows
from respin.gen.versions import versions
from respin.rtl.config import AcceleratorConfig


def report(
    bench: str,
    configs: Sequence[AcceleratorConfig],
    rows: list[dict[str, Any]],
    *,
    json: bool,
    title: str,
    tools: dict[str, str],
) -> None:
    """Print ``rows``: a table for people, or with ``json`` one object ``{bench, config, versions, rows}``.

    A figure that was not measured is None, or its key is absent.
    """
    if json:
        config = {item.name: asdict(item) for item in configs}
        print_json({"bench": bench, "config": config, "versions": versions() | tools, "rows": rows})
    else:
        print_rows(rows, title=title)
