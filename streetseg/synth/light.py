"""Sun, sky and air: the light on a surface, and haze."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

GAMMA = 1 / 2.2
DUSK = 0.10
"""The usual chance of dusk."""


@dataclass(frozen=True)
class Light:
    """The light of one scene. Colours are float[3]; light adds up in linear space."""

    sun: np.ndarray
    """Unit vector towards the sun."""
    sun_rgb: np.ndarray
    """Linear irradiance of a surface that faces the sun; zero when overcast."""
    ambient_rgb: np.ndarray
    """Linear irradiance of a surface that faces up, from the sky."""
    zenith: np.ndarray
    """Colour of the sky overhead, display space 0..1."""
    horizon: np.ndarray
    """Colour of the sky at the horizon and of haze, display space 0..1."""
    visibility: float
    """Distance at which haze takes 63 % of the contrast, in metres."""
    clouds: float
    """Fraction of the sky under clouds, 0..1."""
    dark: bool
    """Whether lamps and windows are lit."""

    @property
    def casts_shadows(self) -> bool:
        """Whether the sun is out."""
        return bool(self.sun_rgb.max() > 0.05)

    @property
    def shadow_offset(self) -> np.ndarray:
        """Shift (x, z) of a shadow on the ground for each metre of height."""
        shift = -self.sun[[0, 2]] / max(self.sun[1], 0.12)
        return np.asarray(shift)

    def tint(self, normals: np.ndarray, lit: float | np.ndarray = 1.0) -> np.ndarray:
        """The factors by which the light multiplies display-space colours.

        Args:
            normals: unit vectors float[..., 3].
            lit: fraction of the sun that reaches the surface, 0..1.

        Returns:
            float[..., 3].
        """
        facing = np.clip(normals @ self.sun, 0, None)[..., None] * lit
        openness = (0.72 + 0.28 * normals[..., 1])[..., None]
        return np.asarray((self.ambient_rgb * openness + self.sun_rgb * facing) ** GAMMA)

    def reflection(self, directions: np.ndarray) -> np.ndarray:
        """Colour of a mirror's reflection along ``directions`` (float[..., 3]): sky or street."""
        up = directions[..., 1:2]
        sky = self.horizon + (self.zenith - self.horizon) * np.clip(up * 1.4, 0, 1)
        street = self.horizon * 0.28
        return np.asarray(street + (sky - street) * np.clip(up * 5 + 0.1, 0, 1))


def random_light(rng: np.random.Generator, overcast: float, dusk: float = DUSK) -> Light:
    """The light of a random hour and weather.

    ``overcast`` is the chance of a grey sky, ``dusk`` that of a low light after sunset.
    """
    azimuth = rng.uniform(0, 2 * np.pi)
    kind = rng.random()
    if kind < overcast:
        altitude, sun_power, ambient, dark = 0.9, 0.0, rng.uniform(0.62, 0.9), False
        zenith = np.array([0.74, 0.77, 0.81]) * rng.uniform(0.8, 1.1)
        horizon = np.array([0.86, 0.87, 0.88]) * rng.uniform(0.9, 1.05)
        clouds, warm = rng.uniform(0.8, 1.0), 0.0
    elif kind < overcast + dusk:
        altitude, sun_power, ambient, dark = 0.1, 0.0, rng.uniform(0.22, 0.34), True
        zenith = np.array([0.30, 0.36, 0.50]) * rng.uniform(0.8, 1.2)
        horizon = np.array([0.72, 0.58, 0.52]) * rng.uniform(0.8, 1.1)
        clouds, warm = rng.uniform(0.2, 0.7), 0.0
    else:
        altitude = rng.uniform(0.25, 1.0)
        warm = float(np.clip(1.1 - altitude * 1.4, 0, 1))
        sun_power, ambient, dark = rng.uniform(0.72, 1.0), rng.uniform(0.20, 0.31), False
        zenith = np.array([0.30, 0.50, 0.80]) * rng.uniform(0.85, 1.15)
        horizon = np.array([0.76, 0.85, 0.93]) + warm * np.array([0.16, 0.02, -0.12])
        clouds = rng.uniform(0.05, 0.75)
    across = np.cos(altitude)
    sun = np.array([across * np.sin(azimuth), np.sin(altitude), across * np.cos(azimuth)])
    sun_rgb = sun_power * (np.array([1.0, 0.95, 0.86]) + warm * np.array([0.12, -0.06, -0.26]))
    bluish = np.array([0.90, 0.98, 1.12]) if sun_power > 0 or dark else np.array([0.98, 1.0, 1.03])
    far = 10 ** rng.uniform(2.25, 3.0)
    return Light(
        sun=sun,
        sun_rgb=sun_rgb,
        ambient_rgb=ambient * bluish,
        zenith=np.clip(zenith, 0, 0.98),
        horizon=np.clip(horizon, 0, 0.98),
        visibility=far if rng.random() > 0.08 else 90.0,
        clouds=clouds,
        dark=dark,
    )
