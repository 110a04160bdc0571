"""A model behind Flask, as notebooks do it: eager PyTorch, Pillow, a request a thread.

python benchmarks/peers/flask_torch.py ARTIFACT PORT HEIGHTxWIDTH
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import flask
import numpy as np
import torch
from PIL import Image

from streetseg.inference.artifact import read_labels
from streetseg.models.load import load_torch

artifact = Path(sys.argv[1])
model = load_torch(artifact).eval()
palette = read_labels(artifact).palette
height, width = map(int, sys.argv[3].split("x"))
app = flask.Flask(__name__)


@app.get("/readyz")
def ready() -> str:
    """Whether it answers."""
    return "yes"


@app.post("/segment")
def segment() -> flask.Response:
    """A palette PNG of the size of the image."""
    image = Image.open(flask.request.files["image"].stream).convert("RGB")
    small = np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))
    with torch.inference_mode():
        logits = model(torch.from_numpy(small.copy())[None])
    ids = logits.argmax(dim=1)[0].numpy().astype(np.uint8)
    mask = Image.fromarray(ids).resize(image.size, Image.Resampling.NEAREST)
    mask.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return flask.Response(buffer.getvalue(), mimetype="image/png")


app.run("127.0.0.1", int(sys.argv[2]), threaded=True)
