# SPDX-License-Identifier: Apache-2.0
"""From a configuration to a bitstream: boards, synthesis, place and route, reports."""
