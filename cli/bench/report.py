# SPDX-License-Identifier: Apache-2.0
"""The form that every bench's figures come out in."""

from collections.abc import Mapping, Sequence
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
    report_parts(bench, configs, {title: rows}, json=json, tools=tools)


def report_parts(
    bench: str,
    configs: Sequence[AcceleratorConfig],
    parts: Mapping[str, list[dict[str, Any]]],
    *,
    json: bool,
    tools: dict[str, str],
) -> None:
    """Print rows as :func:`report` does, a table for each of ``parts`` under its title; JSON has them in one list."""
    if json:
        config = {item.name: asdict(item) for item in configs}
        rows = [row for part in parts.values() for row in part]
        print_json({"bench": bench, "config": config, "versions": versions() | tools, "rows": rows})
        return
    for title, part in parts.items():
        print_rows(part, title=title)
