# SPDX-License-Identifier: Apache-2.0
"""The host's link over a serial line (docs/link.md)."""
