# SPDX-License-Identifier: Apache-2.0
"""Runs programs: lists of descriptors in external memory, each checked before it has an effect."""
