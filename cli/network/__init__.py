# SPDX-License-Identifier: Apache-2.0
"""``respin network``: a whole network on the whole machine, every tensor against golden."""
