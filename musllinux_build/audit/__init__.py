"""Findings, verdicts and grafts: whether a wheel keeps the promise of its tag, and how it is made to."""
