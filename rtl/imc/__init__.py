# SPDX-License-Identifier: Apache-2.0
"""The bit-serial dot-product engine and the depthwise unit (docs/engine.md)."""
