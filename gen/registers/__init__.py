# SPDX-License-Identifier: Apache-2.0
"""The register map as documents and sources for others: SystemRDL, HTML, Markdown, C, Python."""
