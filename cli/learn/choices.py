# SPDX-License-Identifier: Apache-2.0
"""What ``respin learn --list`` shows: backbones, data sets, methods."""

from rich.table import Table

from respin.cli.console import out, print_json


def list_choices(as_json: bool) -> None:
    """Print what there is to choose from."""
    from respin.golden.backbones import BACKBONES
    from respin.golden.data import describe_datasets
    from respin.golden.learn.catalogue import COMPARED, VARIATIONS

    listed = {
        "backbones": list(BACKBONES),
        "datasets": describe_datasets(),
        "methods": {name: method.title for name, method in COMPARED.items()},
        "variations of rep-net": {name: method.title for name, method in VARIATIONS.items()},
    }
    if as_json:
        print_json(listed)
        return
    backbones = listed.pop("backbones")
    for title, rows in listed.items():
        table = Table(title=title, title_justify="left", show_header=False)
        for name, text in rows.items():  # type: ignore[attr-defined]
            table.add_row(name, text)
        out.print(table)
    out.print(f"backbones: {', '.join(backbones)}")
