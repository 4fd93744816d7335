"""Build, graft, tag and prove musllinux wheels on real Alpine."""

__version__ = "0.1.0"
