"""Planted defects: one wheel per class and architecture, from nothing but bytes, and the rule that must find it."""

from __future__ import annotations

from tests.defects.model import Defect, Planted
from tests.defects.objects import OBJECT_DEFECTS
from tests.defects.packaging import PACKAGING_DEFECTS

DEFECTS: tuple[Defect, ...] = (*OBJECT_DEFECTS, *PACKAGING_DEFECTS)

__all__ = ["DEFECTS", "Defect", "Planted"]
