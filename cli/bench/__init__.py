# SPDX-License-Identifier: Apache-2.0
"""``respin bench``: real measurements beside the targets, one file of this folder for each."""
