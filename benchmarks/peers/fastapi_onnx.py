"""A model behind FastAPI: ONNX Runtime and OpenCV, a request a thread, no batches.

python benchmarks/peers/fastapi_onnx.py ARTIFACT PORT HEIGHTxWIDTH
"""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Annotated

import cv2
import fastapi
import numpy as np
import onnxruntime
import uvicorn
from PIL import Image

from streetseg.inference.artifact import read_labels

artifact = Path(sys.argv[1])
providers = onnxruntime.get_available_providers()
session = onnxruntime.InferenceSession(artifact / "model.onnx", providers=providers)
palette = read_labels(artifact).palette
height, width = map(int, sys.argv[3].split("x"))
app = fastapi.FastAPI()


@app.get("/readyz")
def ready() -> str:
    """Whether it answers."""
    return "yes"


@app.post("/segment")
def segment(image: Annotated[bytes, fastapi.File()]) -> fastapi.Response:
    """A palette PNG of the size of the image."""
    rgb = cv2.imdecode(np.frombuffer(image, np.uint8), cv2.IMREAD_COLOR_RGB)
    assert rgb is not None
    small = cv2.resize(rgb, (width, height), interpolation=cv2.INTER_AREA)
    logits = session.run(["logits"], {"images": small[None]})[0][0]
    size = (rgb.shape[1], rgb.shape[0])
    planes = [cv2.resize(plane, size, interpolation=cv2.INTER_LINEAR) for plane in logits]
    mask = Image.fromarray(np.argmax(planes, axis=0).astype(np.uint8))
    mask.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    mask.save(buffer, "PNG")
    return fastapi.Response(buffer.getvalue(), media_type="image/png")


uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
