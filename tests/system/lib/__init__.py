# SPDX-License-Identifier: MIT
"""What the system tests share: a world of namespaces, the host, strict clients, odd peers."""
