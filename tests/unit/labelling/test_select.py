"""Choosing what to label: the command, its folder, what is left out."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import cv2
import numpy as np
import pytest
import xxhash

from streetseg.core.errors import StoppedError, StreetsegError
from streetseg.data.dataset import PreparedDataset
from streetseg.images.decode import decode_image
from streetseg.inference.segmenter import Segmenter
from streetseg.inference.upsampling import softmax
from streetseg.labelling import select_measure
from streetseg.labelling.select import SelectOptions, refuse_other_files, select_frames, unique_stem
from streetseg.labelling.select_result import MEANINGS, Selection
from tests.conftest import Command, Trained
from tests.support.s3_server import s3_server

NEW = 12


def encode(rgb: np.ndarray, suffix: str = ".png") -> bytes:
    return cv2.imencode(suffix, cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR))[1].tobytes()


@pytest.fixture(scope="module")
def streets(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Frames of another city."""
    from streetseg.synth import write_cityscapes

    root = tmp_path_factory.mktemp("other")
    return write_cityscapes(
        root, frames={"train": NEW}, cities=1, size=(96, 192), seed=77, workers=1
    )


@pytest.fixture(scope="module")
def pool(
    tmp_path_factory: pytest.TempPathFactory,
    streets: list[Path],
    dataset: PreparedDataset,
    cityscapes: Path,
) -> Path:
    """New frames in two folders, one of them twice and once more as JPEG; known ones; bad ones."""
    root = tmp_path_factory.mktemp("pool")
    for number, path in enumerate(streets):
        target = root / f"day{number % 2}" / f"{number:04d}.png"
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(path, target)
    shutil.copyfile(streets[0], root / "again.png")
    rgb = decode_image(streets[0].read_bytes())
    (root / "smaller.JPEG").write_bytes(encode(cv2.resize(rgb, (160, 80)), ".jpg"))
    for split in ("train", "val"):
        row = int(dataset.rows(split)[0])
        known = cityscapes / str(dataset.index["image"][row])
        shutil.copyfile(known, root / f"{split}.png")
        (root / f"{split}.jpg").write_bytes(encode(decode_image(known.read_bytes()), ".jpg"))
    (root / "broken.png").write_bytes(b"no image")
    (root / "0001.json").write_text("{}")
    return root


@pytest.fixture(scope="module")
def result(
    pool: Path, trained: Trained, dataset: PreparedDataset, tmp_path_factory: pytest.TempPathFactory
) -> Selection:
    out = tmp_path_factory.mktemp("chosen") / "out"
    return select_frames(str(pool), out, trained.artifact, "models:/tiny/7", count=5, data=dataset)


def table(folder: Path) -> list[dict[str, str]]:
    with (folder / "selection.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_chosen_frames_are_copied_unchanged_under_names_of_their_own(
    result: Selection, pool: Path
) -> None:
    rows = table(result.folder)
    assert [row["rank"] for row in rows] == ["1", "2", "3", "4", "5"]
    assert len({row["name"] for row in rows}) == 5
    for row in rows:
        data = (result.folder / row["name"]).read_bytes()
        assert data == (pool / row["source"]).read_bytes()
        assert row["image_hash"] == xxhash.xxh3_128_hexdigest(data)
    files = {path.name for path in result.folder.iterdir()}
    assert files == {row["name"] for row in rows} | {
        "selection.csv", "selection.json", "selection.html",
    }  # fmt: skip
    assert not list(result.folder.parent.glob("*.partial"))


def test_known_and_evaluated_frames_near_duplicates_and_bad_ones_are_left_out_and_counted(
    trained: Trained, pool: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    everything = select_frames(
        str(pool), tmp_path / "all", trained.artifact, count=100, data=dataset
    )
    assert everything.seen == NEW + 7
    assert everything.left_out == {
        "unreadable": 1, "evaluation": 2, "known": 2, "near_duplicate": 2,
    }  # fmt: skip
    chosen = {frame.source for frame in everything.chosen}
    assert len(chosen) == NEW
    assert not chosen & {"train.png", "train.jpg", "val.png", "val.jpg", "broken.png"}
    assert len(chosen & {"day0/0000.png", "again.png", "smaller.JPEG"}) == 1
    assert any("broken.png, is not an image" in note for note in everything.notes)


def test_scores_are_those_of_the_served_graph(
    result: Selection, pool: Path, trained: Trained, dataset: PreparedDataset
) -> None:
    segmenter = Segmenter(trained.artifact, "float32")
    pixels = dataset.category_pixels(dataset.rows("train")).astype(float)
    void = dataset.labels.names.index("void")
    pixels[void] = 0
    information = -np.log(np.maximum(pixels / pixels.sum(), 1e-5))
    for row in table(result.folder):
        image = segmenter.network_input(decode_image((pool / row["source"]).read_bytes()))
        logits = segmenter.logits(image[None])[0]
        mirrored = segmenter.logits(np.ascontiguousarray(image[:, ::-1])[None])[0][:, :, ::-1]
        p = np.sort(softmax(logits), axis=0)
        ids = logits.argmax(axis=0)
        entropy = -(p * np.log(p)).sum(axis=0).mean() / np.log(len(p))
        assert float(row["entropy"]) == pytest.approx(entropy, abs=2e-4)
        assert float(row["margin"]) == pytest.approx((p[-1] - p[-2]).mean(), abs=2e-4)
        differ = np.mean(ids != mirrored.argmax(axis=0))
        assert float(row["disagreement"]) == pytest.approx(differ, abs=2e-3)
        seen = ids[ids != void]
        assert float(row["rarity"]) == pytest.approx(information[seen].mean(), abs=1e-3)
        assert 0 < float(row["distance"]) <= 2
        assert row["nearest"] in set(dataset.index["image"][dataset.rows("train")])


def test_the_summary_has_model_and_counts(result: Selection, trained: Trained, pool: Path) -> None:
    summary = json.loads((result.folder / "selection.json").read_text())
    assert (summary["model"]["name"], summary["model"]["version"]) == ("tiny", "7")
    assert summary["model"]["run_id"] == trained.run_id
    assert (summary["seen"], summary["count"], summary["chosen"]) == (NEW + 7, 5, 5)
    assert summary["source"] == str(pool)
    assert [frame["name"] for frame in summary["frames"]] == [
        row["name"] for row in table(result.folder)
    ]


def test_the_page_shows_each_chosen_frame(result: Selection) -> None:
    page = (result.folder / "selection.html").read_text()
    assert page.count("data:image/jpeg") == 5
    assert f"<b>5</b> chosen</span>\n<span><b>{result.seen}</b> seen" in page
    for reason, count in result.left_out.items():
        assert f"<tr><td>{MEANINGS[reason]}</td><td>{count}</td></tr>" in page
    for row in table(result.folder):
        assert row["name"] in page
        assert row["why"] in page


@pytest.mark.parametrize("by", ["weighted", "random"])
def test_the_same_call_chooses_the_same(
    by: str, trained: Trained, pool: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    first, second = (
        select_frames(str(pool), tmp_path / name, trained.artifact, count=4, by=by, data=dataset)
        for name in "ab"
    )
    assert first.chosen == second.chosen
    other = SelectOptions(seed=1)
    third = select_frames(
        str(pool), tmp_path / "c", trained.artifact, count=4, by=by, data=dataset, options=other
    )
    assert (third.chosen == first.chosen) == (by != "random")


def test_a_stopped_call_goes_on_where_it_was(
    trained: Trained, pool: Path, dataset: PreparedDataset, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, result: Selection,
) -> None:  # fmt: skip
    measured = []
    measure = select_measure._measure

    def interrupt(path: str, *rest: object) -> object:
        if len(measured) == 7:
            raise KeyboardInterrupt
        measured.append(path)
        return measure(path, *rest)  # type: ignore[arg-type]

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(select_measure, "_measure", interrupt)
        with pytest.raises(StoppedError, match=f"stopped after 7 of {NEW + 7} images: the same"):
            select_frames(str(pool), out, trained.artifact, count=5, data=dataset)
    assert not out.exists()
    with (tmp_path / "out.partial" / "pool.jsonl").open("a") as file:
        file.write('{"path": "cut o')  # as a killed process leaves it
    before = measured.copy()

    def note(path: str, *rest: object) -> object:
        measured.append(path)
        return measure(path, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(select_measure, "_measure", note)
    again = select_frames(str(pool), out, trained.artifact, count=5, data=dataset)
    assert sorted(measured) == sorted({*measured})
    assert len(measured) == NEW + 7
    assert measured[:7] == before
    assert again.chosen == result.chosen


def test_without_data_the_images_trained_on_are_still_left_out(
    trained: Trained, pool: Path, tmp_path: Path
) -> None:
    found = select_frames(str(pool), tmp_path / "out", trained.artifact, count=100)
    assert found.left_out["known"] == 1, "train.png by its hash, not its JPEG"
    assert found.left_out["evaluation"] == 0
    assert any("--data" in note for note in found.notes)
    assert all(frame.distance is None and frame.nearest == "" for frame in found.chosen)
    with pytest.raises(StreetsegError, match="--by distance needs embeddings"):
        select_frames(str(pool), tmp_path / "far", trained.artifact, by="distance")


def test_a_folder_in_which_somebody_has_worked_is_not_replaced(
    trained: Trained, pool: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    first = select_frames(str(pool), out, trained.artifact, count=2, by="entropy")
    second = select_frames(str(pool), out, trained.artifact, count=1, by="entropy")
    assert second.chosen == first.chosen[:1]
    assert not (out / first.chosen[1].name).exists()
    (out / "0001.json").write_text("labels")
    with pytest.raises(StreetsegError, match=r"holds 0001\.json beside an earlier selection"):
        select_frames(str(pool), out, trained.artifact, count=1)
    assert (out / "0001.json").read_text() == "labels"
    (out / "selection.json").write_text("[")
    with pytest.raises(StreetsegError, match="is damaged, so the folder is not replaced"):
        refuse_other_files(out)


@pytest.mark.parametrize(
    ("stem", "expected"),
    [
        ("aachen_000005_000019_leftImg8bit", "aachen_000005_000019_leftImg8bit"),
        ("0123456789abcdef", "0123456789abcdef"),
        ("frame_0001", "frame_0001-01234567"),
        ("a b/ü", "a_b_ü-01234567"),
        ("taken_000001_000019", "taken_000001_000019-01234567"),
    ],
)
def test_names_that_splits_go_by_stay_and_others_get_a_hash(stem: str, expected: str) -> None:
    assert unique_stem(stem, "0123456789abcdef", {"taken_000001_000019"}) == expected


def test_a_bucket_gives_the_same_choice_as_a_folder(
    trained: Trained, pool: Path, dataset: PreparedDataset, result: Selection, tmp_path: Path
) -> None:
    with s3_server("street") as client:
        for path in filter(Path.is_file, pool.rglob("*")):
            key = f"drive/{path.relative_to(pool)}"
            client.put_object(Bucket="street", Key=key, Body=path.read_bytes())
        found = select_frames(
            "s3://street/drive", tmp_path / "out", trained.artifact, count=5, data=dataset
        )
    assert found.chosen == result.chosen
    assert (found.seen, found.left_out) == (result.seen, result.left_out)


def test_the_command_tells_what_it_did(
    streetseg: Command, trained: Trained, pool: Path, dataset: PreparedDataset, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    call = ("select", pool, "--model", trained.artifact, "--data", dataset.path, "--out", out)
    done = streetseg(*call, "--count", 40)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:2] == [
        f"{NEW} of {NEW + 7} frames in {out}: see {out}/selection.html",
        "fewer than the 40 asked for: these are all that are left",
    ]
    assert "left out 2: nearly the same as a chosen frame" in done.stdout
    assert "note: 1 images cannot be used; the first, broken.png, is not an image" in done.stderr
    told = json.loads(streetseg(*call, "--count", 3, "--json", "--by", "spread").stdout)
    assert (told["chosen"], told["by"]) == (3, "spread")


def test_a_mistake_gives_one_line(
    streetseg: Command, trained: Trained, pool: Path, tmp_path: Path
) -> None:
    empty, bad, out = tmp_path / "empty", tmp_path / "bad", tmp_path / "out"
    empty.mkdir()
    bad.mkdir()
    served = tmp_path / "served"
    shutil.copytree(trained.artifact, served, ignore=shutil.ignore_patterns("weights*"))
    (bad / "a.png").write_bytes(b"no image")
    cases = {
        "holds no images (.png, .jpg, .jpeg, .webp)": (empty, trained.artifact, out),
        "none of the 1 images can be used; the first, a.png, is not an image": (
            bad, trained.artifact, out,
        ),
        "holds no model artifact (config.json)": (pool, tmp_path, out),
        "holds no model artifact (weights.safetensors)": (pool, served, out),
        "would lie among the images of": (pool, trained.artifact, pool / "out"),
    }  # fmt: skip
    for message, (source, model, folder) in cases.items():
        done = streetseg("select", source, "--model", model, "--out", folder)
        assert done.returncode == 1
        assert message in done.stderr.splitlines()[-1]
        assert not folder.exists()


def test_each_chosen_frame_tells_what_its_strategy_went_by(
    tmp_path: Path, streets: list[Path], trained: Trained
) -> None:
    for number, path in enumerate(streets[:8]):
        (tmp_path / "pool").mkdir(exist_ok=True)
        shutil.copyfile(path, tmp_path / "pool" / f"{number}.png")
    options = SelectOptions(near_duplicate_bits=-1)

    def reasons(by: str) -> list[str]:
        selection = select_frames(
            str(tmp_path / "pool"), tmp_path / by, trained.artifact, count=2, by=by, options=options
        )
        return [frame.why for frame in selection.chosen]

    first, second = reasons("spread")
    assert first == "the first frame: there is none yet to be unlike"
    assert second[4:] == " from all known and chosen frames"
    assert reasons("entropy") == ["entropy: top 13 %", "entropy: top 25 %"], "of 8"
    assert all("margin" not in reason for reason in reasons("weighted")), "it does not count there"
