# SPDX-License-Identifier: Apache-2.0
"""The integer arithmetic as exact PyTorch references, the methods that train with it, and independent models."""
