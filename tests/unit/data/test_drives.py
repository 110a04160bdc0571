"""Which frames are of one drive."""

import pytest

from streetseg.data.drives import drive_of


@pytest.mark.parametrize(
    ("name", "city", "drive"),
    [
        ("aachen_000000_000019", "aachen", "aachen_000000"),
        ("frankfurt_000001_012345", "frankfurt", "frankfurt_000001"),
        ("aachen_000000_000019", None, "aachen_000000"),
        ("bad-honnef_000000_000019", "all", "bad-honnef_000000"),
        ("aachen_000000_000019_0.005", "aachen", "aachen_000000"),
        ("aachen_000000_000019_1", "aachen", "aachen_000000"),
        ("val_000000", "aachen", "aachen"),
        ("Town01_000123", "Town01", "Town01"),
        ("000123", "all", ""),
        ("um_000012", None, ""),
        ("b1c66a42-6f7d68ca", None, ""),
        ("20200105_121530_000001", "all", "20200105_121530"),
    ],
)
def test_a_drive_is_a_sequence_or_else_a_city(name: str, city: str | None, drive: str) -> None:
    assert drive_of(name, city) == drive
