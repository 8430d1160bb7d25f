# SPDX-License-Identifier: Apache-2.0
"""The host's side: registers behind AXI4-Lite, an AXI4 master's DMA, interrupts."""
