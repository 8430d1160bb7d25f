# SPDX-License-Identifier: Apache-2.0
"""``respin board``: a machine on an FPGA board, reached over its serial line."""
