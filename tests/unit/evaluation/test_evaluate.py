"""Scoring a model."""

import base64
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from streetseg.config.params import Params
from streetseg.core.errors import StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.data.prepare import prepare
from streetseg.data.sources import load_source
from streetseg.evaluation.evaluate import evaluate
from streetseg.evaluation.masks import score_folders
from streetseg.images.encode import encode_png
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import softmax
from streetseg.metrics.calibration import Calibration
from streetseg.metrics.confusion import category_miou
from tests.conftest import Trained
from tests.support.scored_frames import scored_frame


@pytest.fixture(scope="module")
def evaluation(trained: Trained) -> dict:
    return json.loads((trained.evaluation / "evaluation.json").read_text())


def test_it_equals_scoring_the_masks_that_would_be_served(
    trained: Trained, cityscapes: Path, evaluation: dict, tmp_path: Path
) -> None:
    from streetseg.images.decode import decode_image

    model = Segmenter(trained.artifact)
    for frame in load_source("cityscapes").find(cityscapes):
        if frame.split == "val":
            categories = model.predict(decode_image(frame.image.read_bytes()))
            mask = model.labels.representative_ids[categories]
            (tmp_path / f"{frame.name}.png").write_bytes(encode_png(mask))
    masks = score_folders(tmp_path, cityscapes / "gtFine" / "val", model.labels)
    scores = masks.scores
    assert masks.frames == len(evaluation["frames"])
    assert evaluation["miou"] == pytest.approx(scores.miou, abs=1e-6)
    assert evaluation["miou_official"] == pytest.approx(scores.miou_official, abs=1e-6)


def test_every_pixel_of_the_truth_is_counted_at_native_size(
    dataset: PreparedDataset, evaluation: dict
) -> None:
    pixels = sum(dataset.label_ids(row).size for row in dataset.rows("val"))
    assert np.sum(evaluation["confusion"]) == pixels


def test_frames_npz_holds_the_confusion_of_every_frame_without_pickles(
    trained: Trained, dataset: PreparedDataset, evaluation: dict
) -> None:
    with np.load(trained.evaluation / "frames.npz", allow_pickle=False) as frames:
        assert frames["frames"].tolist() == dataset.index["frame"][dataset.rows("val")].tolist()
        assert frames["counts"].dtype == np.int64
        assert frames["counts"].sum(axis=0).tolist() == evaluation["confusion"]
        mious = {
            str(name): category_miou(counts)
            for name, counts in zip(frames["frames"], frames["counts"], strict=True)
        }
    listed = {frame["frame"]: frame["miou"] for frame in evaluation["frames"]}
    assert listed == pytest.approx(mious, abs=1e-6)


def test_intervals_hold_the_scores(evaluation: dict) -> None:
    intervals = evaluation["intervals"]
    for name in ("miou", "miou_official", "boundary_miou"):
        low, high = intervals[name]
        assert low <= evaluation[name] <= high
    for name, iou in evaluation["iou"].items():
        ends = intervals["iou"][name]
        assert ends is None or ends[0] <= iou <= ends[1]


def test_slices_are_of_all_frames(evaluation: dict) -> None:
    assert evaluation["slices"].keys() == {"city", "brightness", "sharpness"}
    for parts in evaluation["slices"].values():
        assert sum(part["frames"] for part in parts) == len(evaluation["frames"])


def test_every_category_has_every_score(evaluation: dict) -> None:
    for key in ("iou", "dice", "precision", "recall", "boundary_iou"):
        assert list(evaluation[key]) == evaluation["categories"]
        assert all(value is None or 0 <= value <= 1 for value in evaluation[key].values())
    scored = [value for value in evaluation["boundary_iou"].values() if value is not None]
    assert evaluation["boundary_miou"] == pytest.approx(np.mean(scored), abs=1e-6)


def test_calibration_is_that_of_the_network_at_prepared_size(
    trained: Trained, dataset: PreparedDataset, evaluation: dict
) -> None:
    calibration, model = Calibration(), Segmenter(trained.artifact)
    for row in dataset.rows("val"):
        logits = model.logits(np.array(dataset.image(row))[None])[0]
        calibration.add(
            scored_frame(
                dataset.labels,
                probabilities=softmax(logits),
                small_truth=dataset.categories(row),
            )
        )
    assert {"calibration": evaluation["calibration"]} == calibration.result()


def test_it_says_what_an_answer_costs_here(trained: Trained, evaluation: dict) -> None:
    cost = evaluation["performance"]
    assert cost["latency_ms"] > 0
    assert cost["cores"] >= 1
    assert cost["device"] == "CPU"
    files = [path.stat().st_size for path in trained.artifact.iterdir()]
    assert cost["megabytes"] == pytest.approx(sum(files) / 1e6, abs=0.01)


def test_without_a_champion_nothing_is_compared(trained: Trained, evaluation: dict) -> None:
    assert evaluation["champion"] is None
    assert "champion" not in (trained.evaluation / "report.html").read_text()


def test_cityscapes_has_no_other_metric_without_instance_ids(evaluation: dict) -> None:
    assert evaluation["benchmark"] is None


def test_frames_are_ranked_from_best_to_worst(evaluation: dict) -> None:
    scores = [frame["miou"] for frame in evaluation["frames"]]
    assert scores == sorted(scores, reverse=True)


def test_the_report_is_one_file_that_asks_for_nothing_else(
    trained: Trained, evaluation: dict
) -> None:
    page = (trained.evaluation / "report.html").read_text()
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert f"{evaluation['miou']:.3f}" in page
    assert evaluation["frames"][-1]["frame"] in page


def test_the_confusion_matrix_is_an_image_in_the_folder_and_on_the_page(
    trained: Trained, evaluation: dict
) -> None:
    png = (trained.evaluation / "confusion.png").read_bytes()
    page = (trained.evaluation / "report.html").read_text()
    assert f'src="data:image/png;base64,{base64.b64encode(png).decode()}"' in page
    row = evaluation["categories"].index("flat")
    recall = evaluation["confusion"][row][row] / sum(evaluation["confusion"][row])
    assert f"flat {recall * 100:.1f} % found, " in page


def test_the_report_is_small_enough_to_mail(trained: Trained) -> None:
    assert (trained.evaluation / "report.html").stat().st_size < 3_000_000


def test_test_time_augmentation_is_reported_beside_the_score(
    trained: Trained, dataset: PreparedDataset, params: Params, evaluation: dict, tmp_path: Path
) -> None:
    recipe = params.override({"evaluate.tta": ["scales", "flip"]})
    found = evaluate(trained.artifact, dataset, recipe, tmp_path / "evaluation").to_dict()
    assert evaluation["augmented"] is None
    assert found["augmented"].keys() == {"scales", "flip"}
    assert all(0 < miou < 1 for miou in found["augmented"].values())
    assert found["miou"] not in found["augmented"].values()
    assert found["miou"] == evaluation["miou"], "what is served has no part in it"
    assert "test-time augmentation" in (tmp_path / "evaluation" / "report.html").read_text()


def road_params(params: Params, root: Path) -> Params:
    """Two kinds of road in KITTI's layout: magenta road, red rest, black not valid."""
    random = np.random.default_rng(0)
    (root / "training/image_2").mkdir(parents=True)
    (root / "training/gt_image_2").mkdir()
    for number in range(8):
        rgb = random.integers(0, 255, (64, 96, 3), np.uint8)
        truth = np.zeros((64, 96, 3), np.uint8)
        truth[8:], truth[40:, :, 2], rgb[40:] = (255, 0, 0), 255, 90
        (root / f"training/image_2/um_{number:06d}.png").write_bytes(encode_png(rgb))
        (root / f"training/gt_image_2/um_road_{number:06d}.png").write_bytes(encode_png(truth))
    return params.override(
        {
            "data.source": "kitti-road",
            "data.root": str(root),
            "data.prepared": str(root.with_name("prepared")),
            "train.epochs": 1,
        }
    )


def test_kitti_road_has_its_own_metric(params: Params, tmp_path: Path) -> None:
    from streetseg.training.train import train

    recipe = road_params(params, tmp_path / "kitti")
    prepared = PreparedDataset(prepare(recipe))
    model = train(recipe, prepared, tmp_path / "model")
    found = evaluate(model.artifact, prepared, recipe, tmp_path / "evaluation").to_dict()
    benchmark, served = found["benchmark"], found["dice"]["road"]
    assert benchmark["name"] == "KITTI road, in perspective view"
    assert served - 0.01 <= benchmark["max_f1"] <= 1, "0.5 is one of the thresholds"
    assert f"{benchmark['max_f1']:.3f}" in (tmp_path / "evaluation/report.html").read_text()
    assert np.sum(found["confusion"]) == 56 * 96 * len(found["frames"]), "black is not counted"


def test_labels_that_were_lost_are_one_clear_line(
    trained: Trained, dataset: PreparedDataset, params: Params, tmp_path: Path
) -> None:
    damaged = Path(shutil.copytree(dataset.path, tmp_path / "damaged"))
    next(damaged.rglob("label_ids/*.png")).unlink()
    with pytest.raises(StreetsegError, match=r"no labels of \w+ at native .*prepare or fetch"):
        evaluate(trained.artifact, PreparedDataset(damaged), params, tmp_path / "evaluation")
    assert not (tmp_path / "evaluation").exists()


def test_a_model_of_another_size_is_refused(
    trained: Trained, params: Params, tmp_path: Path
) -> None:
    tree = params.to_dict()
    tree["prepare"]["size"] = [32, 64]
    tree["data"]["prepared"] = str(tmp_path / "small")
    small = PreparedDataset(prepare(Params.model_validate(tree)))
    with pytest.raises(StreetsegError, match=r"prepare with prepare\.size=\[64, 128\]"):
        evaluate(trained.artifact, small, params, tmp_path / "evaluation")
    assert not (tmp_path / "evaluation").exists()
