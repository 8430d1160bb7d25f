# SPDX-License-Identifier: Apache-2.0
"""Learning tasks on a pretrained backbone: methods, protocols, what they cost in memory and in writes."""
