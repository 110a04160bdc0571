"""Each recipe learns, on streets in the layout of the data set it is for."""

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from streetseg.config import RECIPES, Params, load_recipe
from streetseg.dataset import PreparedDataset
from streetseg.imaging import decode_ids, encode_png
from streetseg.prepare import prepare
from streetseg.tracking import connect
from streetseg.training import train
from tests.source_layouts import BLACK, MAGENTA, RED, in_red

CARLA_13 = (0, 4, 5, 7, 9, 10, 12, 12)
"""For each category of Cityscapes, an id of CARLA's first 13 classes."""

SMALLER = {
    "prepare.size": (64, 128),
    "model.encoder_weights": "none",
    "train.batch_size": 4,
    "train.warmup": 0.1,
    "train.loader_workers": 0,
    "train.patience": 99,
}
"""What every recipe is run with here: few and small frames, nothing downloaded."""
