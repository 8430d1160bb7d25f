# SPDX-License-Identifier: Apache-2.0
"""``respin device``: a device's parameters, its physics, and pictures of both."""
