"""The gate."""

import pytest

from streetseg.config import Gate
from streetseg.gate import judge


def evaluation(miou: float | None) -> dict:
    return {"miou": miou, "categories": ["a"] * 8, "frames": [{}] * 3, "split": "val"}


@pytest.mark.parametrize(
    ("miou", "passed"), [(0.61, True), (0.6, True), (0.599, False), (0.0, False), (None, False)]
)
def test_it_opens_at_the_floor(miou: float | None, passed: bool) -> None:
    assert judge(evaluation(miou), Gate(miou_floor=0.6)).passed is passed


def test_the_verdict_explains_itself() -> None:
    verdict = judge(evaluation(0.5), Gate(miou_floor=0.6))
    assert verdict.reasons == [
        "mean IoU over 8 categories is 0.500 on 3 val frames: below the floor of 0.6"
    ]
    assert verdict.to_markdown().startswith("# Gate closed: nothing is registered")
    assert verdict.reasons[0] in verdict.to_markdown()
    assert verdict.to_dict() == {"passed": False, "reasons": verdict.reasons}


def test_a_score_that_does_not_exist_closes_it_even_at_a_floor_of_zero() -> None:
    verdict = judge(evaluation(None), Gate(miou_floor=0))
    assert not verdict.passed
    assert "does not exist" in verdict.reasons[0]
