# SPDX-License-Identifier: Apache-2.0
"""From a user's network to integer layers: PyTorch modules and quantised ONNX files."""
