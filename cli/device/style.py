# SPDX-License-Identifier: Apache-2.0
"""How pictures of a device look: as figures for a paper."""

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7")
"""Told apart by readers who see few colours (Okabe and Ito 2008)."""
STYLE = {
    "font.size": 8, "axes.titlesize": 8, "legend.fontsize": 7, "axes.spines.top": False, "axes.spines.right": False,
    "lines.linewidth": 1.2, "svg.hashsalt": "respin", "svg.fonttype": "none", "savefig.dpi": 200,
}  # fmt: skip
