"""The archive, its RECORD and its WHEEL file: read defensively, written deterministically."""
