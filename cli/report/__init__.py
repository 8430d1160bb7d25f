# SPDX-License-Identifier: Apache-2.0
"""``respin report``: what a program costs."""
