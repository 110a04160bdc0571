"""The HTTP service in process; the demo's test uses a real server."""

from __future__ import annotations

import base64
import importlib
import io
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from bentoml.exceptions import BentoMLConfigException
from mlflow.webhooks.delivery import _generate_hmac_signature
from PIL import Image
from starlette.testclient import TestClient

import streetseg
import streetseg.serving.app
from scripts.servers import running
from streetseg.config.params import Params
from streetseg.core.provenance import REPOSITORY
from streetseg.data.dataset import PreparedDataset
from streetseg.images.decode import decode_ids, decode_image
from streetseg.images.encode import encode_png
from streetseg.registry.lineage import trace
from streetseg.registry.local_copies import copy_model
from tests.conftest import Trained
from tests.support.live_service import promoted
from tests.support.png_files import png

NAME = "served"


@pytest.fixture(scope="module")
def served(
    params: Params, trained: Trained, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Params]:
    """A registry with a champion, and the params file that the service reads."""
    folder = tmp_path_factory.mktemp("service")
    limits = {
        "max_megabytes": 1,
        "max_megapixels": 0.5,
        "max_images_per_request": 3,
        "poll_seconds": 600,
    }
    recipe = promoted(params, trained, folder, NAME, **limits)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STREETSEG_PARAMS", str(folder / "params.yaml"))
        yield recipe


@pytest.fixture(scope="module")
def client(served: Params) -> Iterator[TestClient]:
    sys.modules.pop("service", None)
    service = importlib.import_module("service")
    with TestClient(service.StreetSegmenter.to_asgi()) as http:
        yield http


def image(height: int = 60, width: int = 90) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)


def upload(data: bytes, field: str = "image", name: str = "frame.png") -> dict:
    return {"files": {field: (name, data, "application/octet-stream")}}


def test_segment_answers_with_a_palette_png_of_the_images_size(
    client: TestClient, served: Params
) -> None:
    rgb = image()
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
def test_the_three_formats_are_accepted(client: TestClient, kind: str) -> None:
    buffer = io.BytesIO()
    Image.fromarray(image()).save(buffer, kind)
    assert client.post("/segment", **upload(buffer.getvalue())).status_code == 200


def test_describe_gives_the_fraction_of_each_category(client: TestClient) -> None:
    answer = client.post("/describe", **upload(encode_png(image())))
    body = answer.json()
    assert (body["width"], body["height"]) == (90, 60)
    assert body["classes"][0]["name"] == "void"
    assert sum(entry["share"] for entry in body["classes"]) == pytest.approx(1, abs=1e-4)
    assert body["model"]["version"] == answer.headers["X-Model-Version"]


def test_model_describes_the_served_version_and_its_origin(
    client: TestClient, dataset: PreparedDataset, trained: Trained
) -> None:
    model = client.get("/model").json()
    assert model["name"] == NAME
    assert "champion" in model["aliases"]
    assert model["data_version"] == dataset.version
    assert model["run_id"] == trained.run_id
    assert len(model["label_space"]["categories"]) == 8


def test_an_answer_can_be_traced_to_its_data(
    client: TestClient, served: Params, dataset: PreparedDataset, trained: Trained
) -> None:
    version = client.get("/model").headers["X-Model-Version"]
    lineage = trace(served, version)
    assert lineage.data_version == dataset.version
    assert [run.id for run in lineage.runs] == [trained.run_id]


def test_health_is_reported(client: TestClient) -> None:
    for path in ("/healthz", "/livez", "/readyz"):
        assert client.get(path).status_code == 200


def test_the_api_describes_itself(client: TestClient) -> None:
    spec = client.get("/docs.json").json()
    described = {"/segment", "/overlay", "/confidence", "/describe", "/segment_batch"}
    described |= {"/model", "/drift"}
    assert described <= spec["paths"].keys()
    for path in described:
        (operation,) = spec["paths"][path].values()
        assert operation["description"]
        assert operation["responses"]["503"]["content"]["application/json"]["example"]["error"]
    batch = spec["paths"]["/segment_batch"]["post"]
    (media,) = batch["responses"]["200"]["content"].values()
    assert {"mask", "error"} <= {key for each in media["example"]["results"] for key in each}
    assert client.get("/docs").status_code == 200


def test_the_overlay_is_the_image_blended_with_the_colours(
    client: TestClient, served: Params
) -> None:
    rgb = image()
    model = streetseg.load(f"models:/{NAME}@champion", served.registry)
    colors = model.labels.palette[model.predict(rgb)]
    for opacity, expected in (("0", rgb), ("1", colors)):
        answer = client.post("/overlay", **upload(encode_png(rgb)), data={"opacity": opacity})
        assert answer.headers["X-Model-Version"] == "1"
        np.testing.assert_array_equal(decode_image(answer.content), expected)


def test_the_confidence_is_the_probability_of_the_category(
    client: TestClient, served: Params
) -> None:
    model = streetseg.load(f"models:/{NAME}@champion", served.registry)
    rgb = image(*model.size)
    answer = client.post("/confidence", **upload(encode_png(rgb)))
    assert answer.headers["X-Model-Version"] == "1"
    grey = decode_ids(answer.content)
    expected = 255 * model.probabilities(rgb).max(axis=0)
    np.testing.assert_allclose(grey, expected, atol=1)
    assert grey.std() > 1


@pytest.mark.parametrize("opacity", ["2", "-1", "nan", "much", ""])
def test_an_impossible_opacity_is_refused(client: TestClient, opacity: str) -> None:
    answer = client.post("/overlay", **upload(encode_png(image())), data={"opacity": opacity})
    assert answer.status_code == 400
    assert "field 'opacity'" in answer.json()["error"]


@pytest.mark.parametrize("opacity", ["[1]", "1" * 33, "\xff\xfe"])
def test_an_opacity_that_is_not_a_number_is_refused(client: TestClient, opacity: str) -> None:
    answer = client.post("/overlay", **upload(encode_png(image())), data={"opacity": opacity})
    assert answer.status_code == 400
    assert "field 'opacity'" in answer.json()["error"]


@pytest.mark.parametrize("length", [1, 200, 255, 300])
def test_the_name_of_the_file_does_not_matter(client: TestClient, length: int) -> None:
    answer = client.post("/segment", **upload(encode_png(image()), name="." + "a" * length))
    assert answer.status_code == 200


def test_made_up_paths_are_not_counted_one_by_one(client: TestClient) -> None:
    for number in range(30):
        client.get(f"/made-up-{number}")
    metrics = client.get("/metrics").text
    assert 'route="other"' in metrics
    assert "made-up" not in metrics


def test_a_batch_answers_each_image_and_says_which_is_bad(
    client: TestClient, served: Params
) -> None:
    images = [image(60, 90), image(40, 30)]
    files = [encode_png(images[0]), b"text", encode_png(images[1])]
    answer = client.post(
        "/segment_batch", files=[("images", (str(n), f)) for n, f in enumerate(files)]
    )
    assert answer.status_code == 200
    first, bad, second = answer.json()["results"]
    assert bad == {"error": "is not an image"}
    model = streetseg.load(f"models:/{NAME}@champion", served.registry)
    for result, rgb in zip((first, second), images, strict=True):
        assert (result["height"], result["width"]) == rgb.shape[:2]
        ids = decode_ids(base64.b64decode(result["mask"]))
        np.testing.assert_array_equal(ids, model.predict(rgb))
    assert answer.json()["model"]["version"] == answer.headers["X-Model-Version"] == "1"


def test_a_batch_may_not_be_too_long_or_empty(client: TestClient) -> None:
    files = [("images", ("x.png", encode_png(image())))] * 4
    answer = client.post("/segment_batch", files=files)
    assert (answer.status_code, "at most 3" in answer.json()["error"]) == (413, True)
    assert client.post("/segment_batch", **upload(b"x", field="other")).status_code == 400


def test_drift_is_reported_in_numbers_and_as_a_page(client: TestClient) -> None:
    before = client.get("/drift").json()["seen"]
    client.post("/segment", **upload(encode_png(image())))
    state = client.get("/drift").json()
    assert state["seen"] == before + 1
    assert state["reference"]["split"] == "val"
    page = client.get("/drift.html")
    assert page.headers["content-type"].startswith("text/html")
    assert "brightness" in page.text.lower()


def test_a_second_look_at_an_image_is_not_counted(client: TestClient) -> None:
    def counted() -> tuple[int, str]:
        metrics = client.get("/metrics").text
        total = next(line for line in metrics.splitlines() if "seg_confidence_count" in line)
        return client.get("/drift").json()["seen"], total

    file = encode_png(image())
    before, _ = counted()
    client.post("/segment", **upload(file))
    once = counted()
    assert once[0] == before + 1
    assert client.post("/confidence", **upload(file)).status_code == 200
    assert counted() == once
    client.post("/overlay", **upload(file))
    assert counted()[0] == before + 2


def test_answers_are_safe_for_a_browser_and_carry_an_id(client: TestClient) -> None:
    answer = client.get("/model", headers={"X-Request-Id": "abc-1"})
    assert answer.headers["X-Request-Id"] == "abc-1"
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    assert "access-control-allow-origin" not in answer.headers
    forged = client.get("/model", headers={"X-Request-Id": 'x" y'})
    assert len(forged.headers["X-Request-Id"]) == 32
    page = client.get("/")
    assert "script-src 'self'" in page.headers["Content-Security-Policy"]


def test_a_webhook_of_mlflow_triggers_a_poll_and_a_forged_one_does_not(
    client: TestClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    body, now = '{"entity": "model_version_alias"}', str(int(time.time()))
    signed = {
        "X-MLflow-Delivery-Id": "d-1",
        "X-MLflow-Timestamp": now,
        "X-MLflow-Signature": _generate_hmac_signature("s3cret", "d-1", now, body),
    }
    monkeypatch.delenv("STREETSEG_WEBHOOK_SECRET", raising=False)
    assert client.post("/webhook", content=body, headers=signed).status_code == 404
    monkeypatch.setenv("STREETSEG_WEBHOOK_SECRET", "s3cret")
    before = client.get("/model").json()["champion_checked"]
    assert client.post("/webhook", content="{}", headers=signed).status_code == 401
    for limit, status in ((len(body) - 1, 413), (len(body), 202), (len(body) + 1, 202)):
        monkeypatch.setattr(streetseg.serving.app, "MAX_WEBHOOK_BYTES", limit)
        assert client.post("/webhook", content=body, headers=signed).status_code == status
    deadline = time.monotonic() + 60
    while client.get("/model").json()["champion_checked"] == before:
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_errors_of_the_framework_are_json_too(client: TestClient) -> None:
    for answer, status in ((client.get("/nowhere"), 404), (client.get("/segment"), 405)):
        assert answer.status_code == status
        assert list(answer.json()) == ["error"]
        assert answer.headers["X-Model-Version"] == "1"


def test_a_request_leaves_one_line_of_json_in_the_log(
    client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", "streetseg.access"):
        client.post("/segment", **upload(b"text"), headers={"X-Request-Id": "wrong-1"})
        client.get("/healthz")
    (entry,) = [json.loads(each.message) for each in caplog.records if "streetseg" in each.name]
    assert (entry["request_id"], entry["status"], entry["path"]) == ("wrong-1", 400, "/segment")
    assert entry["error"] == "the field 'image' is not an image"


def gif() -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image()).save(buffer, "GIF")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "status", "message"),
    [
        (b"", 400, "not an image"),
        (b"just text", 400, "not an image"),
        (encode_png(image())[:-40], 400, "truncated"),
        (encode_png(image())[:20], 400, "image"),
        (gif(), 415, "is GIF"),
        (png(1000, 1000, data=b""), 413, "1000x1000"),
        (bytes(1_100_000), 413, "1 megabytes"),
    ],
)
@pytest.mark.parametrize("route", ["/segment", "/describe"])
def test_a_bad_image_is_a_client_error_and_is_explained(
    client: TestClient, route: str, data: bytes, status: int, message: str
) -> None:
    answer = client.post(route, **upload(data))
    assert answer.status_code == status
    assert message in answer.json()["error"]


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        ({"json": {"image": "abc"}}, 415),
        ({"content": b"raw"}, 415),
        (upload(encode_png(image()), field="photo"), 400),
        ({"data": {"image": "text"}, "files": {"x": b""}}, 400),
        ({"content": b"junk", "headers": {"content-type": "multipart/form-data; boundary=x"}}, 400),
        ({"content": b"junk", "headers": {"content-type": "multipart/form-data"}}, 400),
        ({**upload(encode_png(image())), "data": {"x": "9"}}, 400),
        ({"files": {"image": b"x", "other": b"\xff\xfe"}}, 400),
    ],
)
def test_a_malformed_request_is_told_the_right_form(
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
    environment.pop("STREETSEG_PARAMS", None)
    environment |= {"STREETSEG_SET": f"serve.cache={tmp_path}"}
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
    assert "there is no registry at" in json.loads(segment[1])["error"]
    assert segment == model


def test_a_wrong_setting_is_one_line_of_bentoml_and_an_exception_for_an_importer(
    served: Params, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STREETSEG_SET", "serve.timeout=soon")
    done = subprocess.run(
        ["bentoml", "serve", "service:StreetSegmenter"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "serve.timeout = 'soon': input should be a valid number" in done.stderr
    assert "Traceback" not in done.stderr
    monkeypatch.delitem(sys.modules, "service")
    with pytest.raises(BentoMLConfigException, match=r"serve\.timeout"):
        importlib.import_module("service")


def test_the_supervisor_loads_no_routes_and_a_worker_only_what_answers_need() -> None:
    script = (
        "import sys, service\n"
        "workers_only = {'numpy', 'cv2', 'onnxruntime', 'streetseg.serving.app'}\n"
        "print(sorted(workers_only & sys.modules.keys()))\n"
        "import streetseg.serving.champion_follower\n"
        "service.app()\n"
        "unneeded = {'mlflow', 'pandas', 'streetseg.data.sources', 'streetseg.serving.answers'}\n"
        "print(sorted(unneeded & sys.modules.keys()))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-2:] == ["[]", "[]"]


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_bento_with_the_model_inside_answers_without_a_registry(
    served: Params, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    skip = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "streetseg", project / "streetseg", ignore=skip)
    for name in ("service.py", "bentofile.yaml", "pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, project)
    (project / "components").mkdir()
    shutil.copy(REPOSITORY / "components" / "serve.lock", project / "components")
    copy_model(f"models:/{NAME}@champion", served.registry, project / "model")
    (project / "params.yaml").write_text("serve: {model: model}\n")
    environment = {
        "BENTOML_DO_NOT_TRACK": "True",
        "BENTOML_HOME": str(tmp_path),
        "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path / 'none.db'}",
        "STREETSEG_PARAMS": "",
    }
    build = ["bentoml", "build", "--output", "tag"]
    subprocess.run(build, cwd=project, env=os.environ | environment, check=True)
    shutil.rmtree(project)
    serve = ["bentoml", "serve", "street_segmenter:latest", "--host", "127.0.0.1", "--port", "PORT"]
    with running(serve, "/readyz", tmp_path / "service.log", environment) as server:
        answer = httpx.post(
            f"{server.url}/segment", files={"image": encode_png(image())}, timeout=60
        )
        assert (answer.status_code, answer.headers["X-Model-Version"]) == (200, "1")
        assert httpx.get(f"{server.url}/model").json()["name"] == NAME
    assert not (tmp_path / "none.db").exists()
