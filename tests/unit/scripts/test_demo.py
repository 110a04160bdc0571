"""The demo, before it does anything; what it does is in tests/integration/test_pipeline.py."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.demo import REASON, Demo
from streetseg.core.errors import StreetsegError
from streetseg.registry.promotion import promote
from streetseg.tracking.store import DEFAULT_STORE, connect, store_of


@pytest.mark.parametrize("variable", [None, "sqlite:///team.db"])
def test_it_uses_the_registry_of_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str | None
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    if variable:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", variable)
    store = (variable or DEFAULT_STORE).removeprefix("sqlite:///")
    demo = Demo(tmp_path / "outputs" / "demo", None, {})
    assert store_of(demo.params.registry) == f"sqlite:///{tmp_path / store}"
    demo.check_champion()
    assert not list(tmp_path.iterdir()), "looking makes no registry"


def test_it_replaces_its_own_champion_and_no_other(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'mlflow.db'}"
    demo = Demo(tmp_path / "demo", None, {"registry.tracking_uri": store})
    registry = demo.params.registry
    client = connect(registry, create=True)
    client.create_registered_model(registry.model_name)
    for recipe in ("demo", "default"):
        tags = {"gate": "passed", "recipe": recipe}
        client.create_model_version(registry.model_name, "outputs/model", tags=tags)
    demo.check_champion()
    promote(registry, "1")
    demo.check_champion()
    promote(registry, "2")
    with pytest.raises(
        StreetsegError, match=r"street-segmenter, version 2 .* of your own"
    ) as caught:
        demo.check_champion()
    assert "\n" not in str(caught.value)
    promote(registry, "1")
    promote(registry, "2", reason=REASON)  # as a demo under another run name does
    demo.check_champion()
    Demo(
        tmp_path / "demo",
        None,
        {"registry.tracking_uri": store, "registry.model_name": "demo"},
    ).check_champion()
