"""The command ``auditwheel`` for musllinux wheels."""

__version__ = "0.1.0"
REFERENCE = "6.8.2"
"""The release of pypa's auditwheel whose command line this one stands in for."""
