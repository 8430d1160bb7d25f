# SPDX-License-Identifier: Apache-2.0
"""HTML and a C header, made from SystemRDL by the PeakRDL tools."""

import tempfile
from pathlib import Path

from respin.gen.folder import sha256

TOOLS = ("systemrdl-compiler", "peakrdl-html", "peakrdl-cheader")
"""Python packages that this needs, of the extra ``registers``."""


def exports(text: str, name: str) -> dict[str, bytes]:
    """Return files by path: ``NAME.h``, and the pages under ``html/``.

    Parameters
    ----------
    text:
        SystemRDL.
    name:
        Of the header.

    Raises
    ------
    ModuleNotFoundError
        If one of :data:`TOOLS` is not installed.
    systemrdl.messages.RDLCompileError
        If ``text`` is not valid.
    """
    from peakrdl_cheader.exporter import CHeaderExporter
    from peakrdl_html import HTMLExporter
    from systemrdl.compiler import RDLCompiler

    with tempfile.TemporaryDirectory() as temporary:
        source, header, html = Path(temporary, f"{name}.rdl"), Path(temporary, f"{name}.h"), Path(temporary, "html")
        source.write_text(text, encoding="utf-8")
        compiler = RDLCompiler()
        compiler.compile_file(str(source))
        top = compiler.elaborate()
        # Every register by its own name, not by that of the first one like it.
        CHeaderExporter().export(top, str(header), reuse_typedefs=False)
        # The pages name the time at which they were made, to get past caches: the same input is to give the same bytes.
        stamp = int(sha256(text)[:8], 16)
        HTMLExporter(generate_source_links=False, user_context={"build_ts": stamp}).export(
            top, str(html), title=f"Registers of {name}"
        )
        pages = {str(path.relative_to(temporary)): path.read_bytes() for path in html.rglob("*") if path.is_file()}
        return {header.name: header.read_bytes(), **dict(sorted(pages.items()))}
