# SPDX-License-Identifier: Apache-2.0
"""What stands around a machine on an FPGA: block RAM in the place of SAS-MRAM, a clock, a serial line."""
