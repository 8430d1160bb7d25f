# SPDX-License-Identifier: Apache-2.0
"""SAS-MRAM: the row code, the bank controller, and the layout of what lies in the memory."""
