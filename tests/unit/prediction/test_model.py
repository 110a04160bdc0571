"""The model that ``streetseg.load`` opens."""

from __future__ import annotations

import io
import json
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import cv2
import mlflow
import numpy as np
import pytest
from PIL import Image

import streetseg
from streetseg.config.params import Registry
from streetseg.core.errors import StreetsegError
from streetseg.images.encode import encode_png
from streetseg.inference.segmenter import Segmenter
from streetseg.registry.register import log_model
from streetseg.tracking.store import connect
from tests.conftest import Trained

SIZES = ((96, 160), (64, 128), (50, 40))


def make_image(number: int, size: tuple[int, int] = (96, 160)) -> np.ndarray:
    """RGB of smooth blocks; no two numbers give the same."""
    blocks = np.random.default_rng(number).integers(0, 255, (8, 8, 3), np.uint8)
    return cv2.resize(blocks, size[::-1], interpolation=cv2.INTER_LINEAR)


@pytest.fixture(scope="module")
def model(trained: Trained) -> streetseg.Model:
    return streetseg.load(trained.artifact)


@pytest.fixture(scope="module")
def cropping(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> streetseg.Model:
    """The model with the fit ``crop``."""
    copy = shutil.copytree(trained.artifact, tmp_path_factory.mktemp("crop") / "model")
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(config | {"format": 2, "fit": "crop"}))
    return streetseg.load(copy)


def test_each_kind_of_image_gives_the_mask_of_the_segmenter(
    model: streetseg.Model, trained: Trained, tmp_path: Path
) -> None:
    rgb = make_image(1)
    expected = Segmenter(trained.artifact).predict(rgb)
    png = encode_png(rgb)
    (tmp_path / "street.png").write_bytes(png)
    bgr = np.ascontiguousarray(rgb[..., ::-1])
    for image in (
        rgb,
        bgr[..., ::-1],  # not contiguous
        Image.fromarray(rgb),
        Image.fromarray(rgb).convert("RGBA"),
        Image.open(tmp_path / "street.png"),
        tmp_path / "street.png",
        str(tmp_path / "street.png"),
        png,
    ):
        mask = model.predict(image)
        assert mask.dtype == np.uint8
        np.testing.assert_array_equal(mask, expected)
    assert (model.predict(bgr) != expected).any(), "arrays are taken as RGB"


def test_a_gray_or_palette_image_of_pil_is_read_as_its_file_is(
    model: streetseg.Model, tmp_path: Path
) -> None:
    for mode in ("L", "LA", "P"):
        image = Image.fromarray(make_image(2)).convert(mode)
        image.save(tmp_path / "street.png")
        of_file = model.predict(tmp_path / "street.png")
        np.testing.assert_array_equal(model.predict(image), of_file)


def test_a_list_gives_a_list_of_the_same_results(model: streetseg.Model) -> None:
    images = [make_image(number, size) for number, size in enumerate(SIZES)]
    for act in (model.predict, model.probabilities):
        for several in (images, tuple(images)):
            results = act(several)
            assert isinstance(results, list)
            assert [result.shape[-2:] for result in results] == list(SIZES)
            for image, result in zip(images, results, strict=True):
                np.testing.assert_array_equal(result, act(image))
    assert model.predict([]) == []


@pytest.mark.parametrize("size", [*SIZES, (300, 200)])
def test_probabilities_sum_to_one_and_their_largest_is_the_prediction(
    model: streetseg.Model, size: tuple[int, int]
) -> None:
    rgb = make_image(3, size)
    probabilities, mask = model.probabilities(rgb), model.predict(rgb)
    assert probabilities.shape == (len(model.labels.names), *size)
    assert probabilities.dtype == np.float32
    assert probabilities.min() >= 0
    np.testing.assert_allclose(probabilities.sum(axis=0), 1, atol=1e-5)
    chosen = np.take_along_axis(probabilities, mask[None].astype(int), axis=0)[0]
    np.testing.assert_allclose(chosen, probabilities.max(axis=0), atol=1e-6)
    assert (probabilities.argmax(axis=0) == mask).mean() > 0.999


def test_probabilities_are_the_softmax_of_bilinear_logits(model: streetseg.Model) -> None:
    rgb = make_image(4, (150, 210))
    logits = model.logits(model.network_input(rgb)[None])[0]
    wide = np.stack([cv2.resize(plane, (210, 150)) for plane in logits])
    exponentials = np.exp(wide - wide.max(axis=0))
    np.testing.assert_allclose(
        model.probabilities(rgb), exponentials / exponentials.sum(axis=0), atol=1e-5
    )


def test_what_a_cropped_input_does_not_show_has_no_probabilities(
    cropping: streetseg.Model,
) -> None:
    rgb = make_image(5, (100, 100))
    probabilities, mask = cropping.probabilities(rgb), cropping.predict(rgb)
    assert set(np.unique(mask[:25])) == {255}
    np.testing.assert_array_equal(probabilities.sum(axis=0) == 0, mask == 255)


def test_the_overlay_is_the_image_blended_with_the_colours(model: streetseg.Model) -> None:
    rgb = make_image(6)
    mask = model.predict(rgb)
    colors = model.labels.palette[mask]
    np.testing.assert_array_equal(model.overlay(rgb, opacity=1), colors)
    np.testing.assert_array_equal(model.overlay(rgb, opacity=0), rgb)
    half = model.overlay(Image.fromarray(rgb)).astype(int)
    assert np.abs(half - (rgb.astype(int) + colors) / 2).max() <= 0.5
    other = np.full_like(mask, 2)
    expected = np.broadcast_to(model.labels.palette[2], rgb.shape)
    np.testing.assert_array_equal(model.overlay(rgb, other, opacity=1), expected)


def test_the_legend_shows_each_colour_and_with_a_mask_the_fractions(
    model: streetseg.Model,
) -> None:
    strip = model.legend(500)
    assert strip.dtype == np.uint8
    assert strip.shape[1:] == (500, 3)
    shown = {tuple(color) for color in strip.reshape(-1, 3).tolist()}
    assert {category.color for category in model.labels.categories} <= shown
    first, second = (model.legend(500, np.full((9, 9), number, np.uint8)) for number in (0, 1))
    assert (first != strip).any()
    assert (first != second).any()
    strip[:] = 0
    assert model.legend(500).any(), "the strip is the caller's"


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (7, "an image of type int cannot be used: give RGB as a NumPy array"),
        (np.zeros((4, 5), np.uint8), "an array uint8[4, 5] is no image"),
        (np.zeros((4, 5), np.uint8), "np.stack([image] * 3, axis=-1)"),
        (np.zeros((4, 5, 4), np.uint8), "without alpha, image[..., :3]"),
        (np.zeros((3, 4, 5), np.uint8), "channels first, image.transpose(1, 2, 0)"),
        (np.zeros((1, 4, 5, 3), np.uint8), "predict also takes a list"),
        (np.zeros((4, 0, 3), np.uint8), "an array uint8[4, 0, 3] is no image"),
        (np.zeros((4, 5, 3)), "(255 * image).round().astype('uint8')"),
        (np.zeros((4, 5, 3), int), "an array int64[4, 5, 3] is no image"),
        (iter([]), "predict also takes a list"),
        (Image.new("I", (5, 4)), "a PIL image of mode I cannot be used"),
        (b"text", "the image is not an image"),
        ("nowhere.png", "cannot read nowhere.png: No such file"),
        (".", "cannot read .: Is a directory"),
        ([np.zeros((4, 5, 3), np.uint8), None], "images[1]: an image of type NoneType"),
    ],
)
def test_what_is_no_image_is_one_clear_line(
    model: streetseg.Model, image: Any, message: str
) -> None:
    for act in (model.predict, model.probabilities):
        with pytest.raises(StreetsegError) as caught:
            act(image)
        assert message in str(caught.value)
        assert "\n" not in str(caught.value)


def test_a_pil_image_that_exif_would_turn_is_not_guessed_about(model: streetseg.Model) -> None:
    image = Image.fromarray(make_image(7))
    exif = image.getexif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "png", exif=exif)
    with pytest.raises(StreetsegError, match=r"ImageOps\.exif_transpose"):
        model.predict(Image.open(file))
    assert model.predict(file.getvalue()).shape == (160, 96), "of a file it is turned"


def test_a_wrong_argument_is_one_clear_line(model: streetseg.Model) -> None:
    rgb = make_image(8)
    for act, message in (
        (lambda: model.overlay(rgb, opacity=60), "opacity=60: give 0 to 1"),
        (
            lambda: model.overlay(rgb, np.zeros((9, 9), np.uint8)),
            "a mask uint8[9, 9] cannot be used: give category ids uint8[96, 160]",
        ),
        (lambda: model.legend(500, rgb), "a mask uint8[96, 160, 3] cannot be used"),
        (lambda: model.legend(40), "the names of the categories need"),
    ):
        with pytest.raises(StreetsegError, match=re.escape(message)):
            act()


class Tags(HTMLParser):
    """The tags, their attributes, and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""
        self.open: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_a_notebook_shows_what_the_model_is(model: streetseg.Model, trained: Trained) -> None:
    page = model._repr_html_()
    shown = Tags(page)
    assert shown.open == []
    assert shown.tags == {"div", "span", "strong"}
    assert shown.attributes == {"style"}
    text = " ".join(shown.text.split())
    for part in (
        "model, not registered",
        "Input 64 x 128 pixels (height x width), fit stretch; float32 on CPU",
        "Scores unknown",
        "1 flat",
        "7 vehicle",
    ):
        assert part in text
    assert page.count("background-color: #804080") == 1
    assert "; color: #" not in page, "the text has the colour of the notebook"
    assert repr(model) == (
        "<Model model, not registered: 8 categories, input 64x128, float32 on CPU>"
    )
    hostile = streetseg.Model(trained.artifact, "<b>x</b>")._repr_html_()
    assert "&lt;b&gt;x&lt;/b&gt;" in hostile


def test_a_registered_version_says_its_name_aliases_and_scores(
    trained: Trained, tmp_path: Path
) -> None:
    registry = Registry(tracking_uri=f"sqlite:///{tmp_path / 'mlflow.db'}", model_name="street")
    client = connect(registry, create=True)
    experiment = client.create_experiment("e", artifact_location=(tmp_path / "files").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        mlflow.register_model(log_model(trained.artifact, None), "street")
    client.set_registered_model_alias("street", "champion", "1")
    client.set_model_version_tag("street", "1", "miou", "0.6671")
    client.set_model_version_tag("street", "1", "miou_official", "edited")
    model = streetseg.load("models:/street@champion", registry)
    assert (model.name, model.version, model.aliases) == ("street", "1", ("champion",))
    assert model.scores == {"miou": 0.6671}
    text = " ".join(Tags(model._repr_html_()).text.split())
    assert "street, version 1 (champion)" in text
    assert "mIoU 0.667" in text


def test_a_copy_of_a_version_says_what_the_registry_said(trained: Trained, tmp_path: Path) -> None:
    copy = shutil.copytree(trained.artifact, tmp_path / "model")
    info = {"name": "street", "version": "4", "run_id": "r", "data_version": None}
    info |= {"git_revision": None, "metrics": {"miou": 0.5, "miou_official": 0.6, "iou_sky": 0.9}}
    (copy / "version.json").write_text(json.dumps(info))
    model = streetseg.load(copy)
    assert (model.name, model.version, model.aliases) == ("street", "4", ())
    assert model.scores == {"miou": 0.5, "miou_official": 0.6}
    assert "official category score 0.600" in Tags(model._repr_html_()).text


def test_a_folder_is_opened_without_mlflow_and_pytorch(trained: Trained) -> None:
    script = (
        "import sys, streetseg\n"
        "early = set(sys.modules)\n"
        "streetseg.load(sys.argv[1])\n"
        "heavy = {'torch', 'mlflow', 'pandas', 'matplotlib', 'scipy', 'jinja2'}\n"
        "print(sorted(heavy & sys.modules.keys()), sorted({'numpy', 'pydantic'} & early))\n"
    )
    command = [sys.executable, "-c", script, str(trained.artifact)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "[] []\n"


def test_the_names_of_the_package_are_those_it_lists() -> None:
    assert {name: getattr(streetseg, name).__name__ for name in streetseg.__all__} == {
        "Model": "Model",
        "StreetsegError": "StreetsegError",
        "load": "load",
    }
    assert streetseg.StreetsegError is StreetsegError
    with pytest.raises(AttributeError, match="has no attribute 'segment'"):
        _ = streetseg.segment


def test_threads_may_share_a_model(model: streetseg.Model) -> None:
    images = [make_image(number, size) for number in range(4) for size in SIZES]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(model.predict, images))
    for mask, alone in zip(together, model.predict(images), strict=True):
        np.testing.assert_array_equal(mask, alone)
