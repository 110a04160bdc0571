"""Synthetic street scenes with the layout and the labels of Cityscapes."""

from streetseg.synth.scene import render_scene
from streetseg.synth.writer import write_cityscapes

__all__ = ["render_scene", "write_cityscapes"]
