# SPDX-License-Identifier: MIT
"""Long answers: they are whole, they come in pieces, and they keep nobody else waiting."""
