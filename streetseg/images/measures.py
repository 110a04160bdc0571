"""Measures of a grey image."""

from __future__ import annotations

import cv2
import numpy as np


def brightness(gray: np.ndarray) -> float:
    """Mean grey value of uint8[H, W], 0 to 255."""
    return cv2.mean(gray)[0]


def sharpness(gray: np.ndarray) -> float:
    """Variance of the Laplacian of uint8[H, W], in squared grey values.

    Source: Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy, ICPR 2000.
    """
    _, deviation = cv2.meanStdDev(cv2.Laplacian(gray, cv2.CV_16S))
    return float(deviation[0, 0] ** 2)
