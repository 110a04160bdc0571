"""The HTTP service, in process; the demo's test asks a real server."""

from __future__ import annotations

import importlib
import io
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image
from starlette.testclient import TestClient

import streetseg
from streetseg.config import Params
from streetseg.dataset import PreparedDataset
from streetseg.gate import judge
from streetseg.imaging import encode_png
from streetseg.lineage import trace
from streetseg.promotion import promote
from streetseg.provenance import REPOSITORY
from streetseg.registry import register
from streetseg.tracking import connect
from tests.conftest import Trained

NAME = "served"


@pytest.fixture(scope="module")
def served(
    params: Params, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Params]:
    """A registry with a champion, and the params file that the service reads."""
    tree = params.to_dict()
    tree["registry"]["model_name"] = NAME
    tree["serve"] = {"max_megabytes": 1, "max_megapixels": 0.5}
    recipe = Params.model_validate(tree)
    evaluation = json.loads((trained.evaluation / "evaluation.json").read_text())
    register(trained.artifact, evaluation, judge(evaluation, recipe.gate), recipe)
    promote(recipe.registry)
    path = tmp_path_factory.mktemp("service") / "params.yaml"
    path.write_text(yaml.safe_dump(recipe.to_dict()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREETSEG_PARAMS", str(path))
        yield recipe


@pytest.fixture(scope="module")
def client(served: Params) -> Iterator[TestClient]:
    sys.modules.pop("service", None)
    service = importlib.import_module("service")
    with TestClient(service.StreetSegmenter.to_asgi()) as http:
        yield http


def picture(height: int = 60, width: int = 90) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def upload(data: bytes, field: str = "image", name: str = "frame.png") -> dict:
    return {"files": {field: (name, data, "application/octet-stream")}}


def test_segment_answers_with_a_palette_png_of_the_size_of_the_picture(
    client: TestClient, served: Params
) -> None:
    rgb = picture()
    answer = client.post("/segment", **upload(encode_png(rgb)))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "image/png"
    assert answer.headers["X-Model-Version"] == "1"
    mask = Image.open(io.BytesIO(answer.content))
    assert mask.mode == "P"
    model = streetseg.load(f"models:/{NAME}@champion", served.registry)
    np.testing.assert_array_equal(np.asarray(mask), model.predict(rgb))
    assert mask.getpalette()[: 3 * 8] == model.labels.palette.ravel().tolist()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_the_three_formats_are_taken(client: TestClient, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, kind)
    assert client.post("/segment", **upload(buffer.getvalue())).status_code == 200


def test_describe_names_the_share_of_each_category(client: TestClient) -> None:
    answer = client.post("/describe", **upload(encode_png(picture())))
    body = answer.json()
    assert (body["width"], body["height"]) == (90, 60)
    assert body["classes"][0]["name"] == "void"
    assert sum(entry["share"] for entry in body["classes"]) == pytest.approx(1, abs=1e-4)
    assert body["model"]["version"] == answer.headers["X-Model-Version"]


def test_model_says_what_answers_and_where_it_comes_from(
    client: TestClient, dataset: PreparedDataset, trained: Trained
) -> None:
    model = client.get("/model").json()
    assert model["name"] == NAME
    assert "champion" in model["aliases"]
    assert model["data_version"] == dataset.version
    assert model["run_id"] == trained.run_id
    assert len(model["label_space"]["categories"]) == 8


def test_a_promotion_meanwhile_does_not_mix_two_versions(
    client: TestClient, served: Params, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, service = connect(served.registry), sys.modules["service"]
    first = registry.get_model_version(NAME, "1")
    later = registry.create_model_version(NAME, first.source, trained.run_id)
    download = service.download

    def promoted_meanwhile(*arguments: Any) -> Path:
        folder = download(*arguments)
        registry.set_registered_model_alias(NAME, "champion", later.version)
        return folder

    monkeypatch.setattr(service, "download", promoted_meanwhile)
    try:
        assert service.StreetSegmenter.inner().model["version"] == "1"
    finally:
        registry.set_registered_model_alias(NAME, "champion", "1")
        registry.delete_model_version(NAME, later.version)


def test_an_answer_can_be_traced_to_its_data(
    client: TestClient, served: Params, dataset: PreparedDataset, trained: Trained
) -> None:
    version = client.get("/model").headers["X-Model-Version"]
    found = trace(served, version)
    assert found.data_version == dataset.version
    assert [run.id for run in found.runs] == [trained.run_id]


def test_health_is_told(client: TestClient) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        assert client.get(path).status_code == 200


def test_the_api_describes_itself(client: TestClient) -> None:
    paths = client.get("/docs.json").json()["paths"]
    assert {"/segment", "/describe"} <= paths.keys()


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises more pixels than anyone would decode."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        )

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(picture()).save(buffer, "GIF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        (b"", 400, "not an image"),
        (b"just text", 400, "not an image"),
        (encode_png(picture())[:-40], 400, "truncated"),
        (encode_png(picture())[:20], 400, "image"),
        (gif(), 415, "is GIF"),
        (bomb(1000, 1000), 413, "1000x1000"),
        (bomb(60000, 60000), 413, "pixels"),
        (bytes(1_100_000), 413, "1 megabytes"),
    ],
)
@pytest.mark.parametrize("route", ["/segment", "/describe"])
def test_a_bad_picture_is_the_senders_fault_and_is_explained(
    client: TestClient, route: str, data: bytes, status: int, said: str
) -> None:
    answer = client.post(route, **upload(data))
    assert answer.status_code == status
    assert said in answer.json()["error"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"json": {"image": "abc"}}, 415),
        ({"content": b"raw"}, 415),
        (upload(encode_png(picture()), field="photo"), 400),
        ({"data": {"image": "text"}, "files": {"x": b""}}, 400),
        ({"content": b"junk", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400),
        ({"content": b"junk", "headers": {"content-type": "multipart/form-data"}}, 400),
    ],
)
def test_a_request_of_the_wrong_form_is_told_the_right_one(
    client: TestClient, request_: dict, status: int
) -> None:
    answer = client.post("/segment", **request_)
    assert answer.status_code == status
    assert "field 'image'" in answer.json()["error"]


def test_without_a_champion_the_service_says_so(tmp_path: Path) -> None:
    script = (
        "import io, json, service\n"
        "from starlette.testclient import TestClient\n"
        "with TestClient(service.StreetSegmenter.to_asgi()) as http:\n"
        "    answers = [http.post('/segment', files={'image': io.BytesIO(b'x')}),\n"
        "               http.get('/model'), http.get('/readyz')]\n"
        "print(json.dumps([[a.status_code, a.text] for a in answers]))\n"
    )
    environment = {**os.environ, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'empty.db'}"}
    environment["STREETSEG_PARAMS"] = str(tmp_path / "none.yaml")
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
    segment, model, ready = json.loads(done.stdout.splitlines()[-1])
    assert [segment[0], model[0], ready[0]] == [503, 503, 503]
    assert "alias 'champion'" in json.loads(segment[1])["error"]
    assert segment == model


def test_the_bento_builds(tmp_path: Path) -> None:
    environment = {**os.environ, "BENTOML_HOME": str(tmp_path), "BENTOML_DO_NOT_TRACK": "True"}
    built = subprocess.run(
        ["bentoml", "build", "--output", "tag"],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    inside = {path.name for path in (tmp_path / "bentos").glob("street_segmenter/*/src/*")}
    assert {"service.py", "streetseg", "params.yaml"} <= inside
