"""Data versions as their users handle them: DVC's commands on the project's own stage."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3
import numpy as np
import pytest
import yaml
from botocore.config import Config

from streetseg.config.params import Data, load_params
from streetseg.core.errors import StreetsegError
from streetseg.core.provenance import REPOSITORY
from streetseg.data.dataset import INDEX_FILES, PreparedDataset, data_version
from streetseg.data.parts.join import join
from streetseg.data.parts.part import prepare_part
from streetseg.data.parts.plan import plan
from streetseg.data.statistics import BRIGHTNESS, CATEGORIES, FRAMES, METRICS
from streetseg.data.versions import fetch, fetch_index, locked_version, resolve
from streetseg.images.encode import encode_png
from tests.conftest import Command
from tests.support.cityscapes_layout import image_path, label_path, put, write_frames
from tests.support.repositories import dvc, git, run
from tests.support.s3_server import s3_server

SIZE, SMALLER = [64, 128], [32, 64]
BUCKET = "street-data"
CLOUD = f"s3://{BUCKET}/prefix"


def set_params(project: Path, **changes: dict[str, Any]) -> None:
    params = yaml.safe_load((project / "params.yaml").read_text())
    for section, values in changes.items():
        params[section] |= values
    (project / "params.yaml").write_text(yaml.safe_dump(params))


def replace_image(project: Path, city: str, number: int, split: str = "train") -> None:
    """Replace the image of a frame, and keep its label."""
    frame = f"{city}_000000_{number:06d}"
    ids = label_path(project / "data/raw", split, frame).read_bytes()
    put(project / "data/raw", split, frame, np.full((64, 128, 3), 77, np.uint8), np.zeros((1, 1)))
    label_path(project / "data/raw", split, frame).write_bytes(ids)


def version_of(project: Path) -> str:
    return locked_version(project / "dvc.lock")


def read_lock(project: Path) -> str:
    return (project / "dvc.lock").read_text()


def cached(project: Path) -> set[str]:
    """The md5 of each object in the cache."""
    return {
        path.parent.name + path.name
        for path in (project / ".dvc/cache/files/md5").rglob("*")
        if path.is_file()
    }


def listing(project: Path, version: str) -> dict[str, str]:
    """The md5 of each file of a data version, as its object in the cache lists them."""
    entries = (project / ".dvc/cache/files/md5" / version[:2] / version[2:]).read_text()
    return {entry["relpath"]: entry["md5"] for entry in json.loads(entries)}


def file_md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def forget(project: Path) -> None:
    """Leave the data in the remote only."""
    shutil.rmtree(project / ".dvc/cache")
    shutil.rmtree(project / "data/prepared")


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A project whose data was prepared, pushed to ../store, and tagged v1; the output of repro."""
    project = tmp_path_factory.mktemp("first") / "project"
    (project / "data").mkdir(parents=True)
    for name in ("dvc.yaml", "params.yaml", ".dvcignore", "data/.gitignore"):
        shutil.copy(REPOSITORY / name, project / name)
    unwanted = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "streetseg", project / "streetseg", ignore=unwanted)
    (project / ".gitignore").write_text("/outputs/\n")
    set_params(project, prepare={"size": SIZE, "workers": 1})
    write_frames(project / "data/raw")
    git(project, "init", "--quiet")
    dvc(project, "init")
    shutil.copy(REPOSITORY / ".dvc/config", project / ".dvc/config")
    dvc(project, "remote", "add", "--default", "store", "../store")
    output = dvc(project, "repro")
    dvc(project, "push")
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "-m", "data")
    git(project, "tag", "v1")
    return project, output


@pytest.fixture
def project(first: tuple[Path, str], tmp_path: Path) -> Path:
    """A copy of the project and its remote for one test."""
    return Path(shutil.copytree(first[0].parent, tmp_path / "copy")) / "project"


def test_repro_makes_the_data_version_that_the_command_prints(first: tuple[Path, str]) -> None:
    project, output = first
    dataset = PreparedDataset(project / "data/prepared")
    (printed,) = re.findall(r"7 frames in data/prepared, version (\S+)", output)
    assert version_of(project) == printed == dataset.version == resolve("v1", str(project))


def test_git_tracks_the_lock_and_dvc_the_data(first: tuple[Path, str]) -> None:
    project, _ = first
    tracked = git(project, "ls-files").splitlines()
    assert "dvc.lock" in tracked
    assert [name for name in tracked if name.startswith("data/")] == [
        "data/.gitignore",
        *(f"data/statistics/{name}" for name in sorted((BRIGHTNESS, CATEGORIES, FRAMES, METRICS))),
    ]
    assert git(project, "status", "--porcelain") == ""


def test_repro_of_what_has_not_changed_does_nothing(first: tuple[Path, str]) -> None:
    project, _ = first
    lock, before = (project / "dvc.lock").read_bytes(), cached(project)
    output = dvc(project, "repro")
    assert "didn't change, skipping" in output
    assert "streetseg prepare" not in output
    assert (project / "dvc.lock").read_bytes() == lock
    assert cached(project) == before


def test_settings_that_do_not_shape_the_data_do_not_prepare_it_again(project: Path) -> None:
    set_params(project, prepare={"workers": 2}, train={"epochs": 1}, gate={"miou_floor": 0.1})
    assert "didn't change, skipping" in dvc(project, "repro")


def test_preparing_without_dvc_gives_the_same_version(project: Path) -> None:
    output = run(project, "streetseg", "prepare").stdout
    assert f"version {version_of(project)}" in output
    assert "up to date" in dvc(project, "status")


@pytest.fixture(scope="module")
def second(first: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project after an image of bochum was changed and the data made again."""
    copy = Path(shutil.copytree(first[0], tmp_path_factory.mktemp("second") / "project"))
    replace_image(copy, "bochum", 1)
    dvc(copy, "repro")
    return copy


@pytest.fixture
def changed(second: Path, tmp_path: Path) -> Path:
    """A copy of that for one test."""
    return Path(shutil.copytree(second, tmp_path / "changed"))


def test_dvc_tells_what_changed_between_two_data_versions(
    first: tuple[Path, str], changed: Path
) -> None:
    place = changed / "data/raw"
    for kind in ("leftImg8bit", "gtFine"):
        shutil.rmtree(place / kind / "train" / "bochum")
    dvc(changed, "repro")
    dataset = PreparedDataset(changed / "data/prepared")
    diff = json.loads(dvc(changed, "metrics", "diff", "v1", "--json"))
    differences = diff["data/statistics/metrics.json"]
    assert differences["frames.train"] == {"old": 5, "new": 3, "diff": -2}
    assert differences["places"] == {"old": 3, "new": 2, "diff": -1}
    pixels = dataset.category_pixels(np.arange(len(dataset.index)))
    recorded = json.loads((changed / "data/statistics/metrics.json").read_text())
    fractions = dict(zip(dataset.labels.names, pixels / pixels.sum(), strict=True))
    assert recorded["class_fraction"] == pytest.approx(fractions, abs=1e-6)
    assert differences["class_fraction.sky"]["new"] == pytest.approx(fractions["sky"], abs=1e-6)
    assert recorded["brightness"] == pytest.approx(dataset.index["brightness"].mean(), abs=1e-3)
    dvc(changed, "plots", "diff", "v1")
    page = (changed / "dvc_plots/index.html").read_text()
    for title in ("Class fractions", "Frames by place", "Brightness of frames"):
        assert title in page
    assert page.count('"bochum"') == 1, "only the first version shows it"


def test_a_changed_image_adds_only_its_citys_images_to_the_cache(
    first: tuple[Path, str], second: Path
) -> None:
    before, after = version_of(first[0]), version_of(second)
    assert after == data_version(second / "data/prepared") != before
    old, new = listing(first[0], before), listing(second, after)
    assert old.keys() == new.keys()
    differ = {name for name in new if new[name] != old[name]}
    assert differ == {"index.parquet", "train/bochum/images.npy"}
    added = cached(second) - cached(first[0])
    statistics = {file_md5(path) for path in (second / "data/statistics").iterdir()}
    assert added - statistics == {after, *(new[name] for name in differ)}


def test_frames_that_were_labelled_later_make_the_next_version(
    first: tuple[Path, str], project: Path
) -> None:
    before = version_of(project)
    old = PreparedDataset(project / "data/prepared").index
    later = project / "data/raw/later"
    for number in range(5):
        photo = np.random.default_rng(number).integers(0, 255, (64, 128, 3), np.uint8)
        name = "munster_000000_000008" if number == 4 else f"north_{number:06}_000000"
        for kind, pixels in (("rgb", photo), ("ids", photo[..., 0] % 34)):
            (later / kind).mkdir(parents=True, exist_ok=True)
            (later / kind / f"{name}.png").write_bytes(encode_png(pixels))
    pairs = [{"images": "rgb/{name}.png", "labels": "ids/{name}.png"}]
    source = {"name": "later", "label_space": "cityscapes", "pairs": pairs, "joins_splits": True}
    (later / "source.yaml").write_text(yaml.safe_dump(source))
    sources = [
        {"source": "cityscapes", "folder": "."},
        {"source": "data/raw/later/source.yaml", "folder": "later"},
    ]
    set_params(project, data={"sources": sources})
    output = dvc(project, "repro")
    assert "12 frames in data/prepared, version" in output
    new = PreparedDataset(project / "data/prepared").index
    assert version_of(project) != before
    assert new["source"].value_counts().to_dict() == {"cityscapes": 7, "later": 5}
    of_old = new[new["source"] == "cityscapes"].sort_values("image_hash")
    old = old.sort_values("image_hash")
    assert of_old["image_hash"].tolist() == old["image_hash"].tolist()
    assert of_old["split"].tolist() == old["split"].tolist(), "the evaluation split is kept"
    (joined,) = new[new["frame"] == "later_munster_000000_000008"].to_dict("records")
    assert joined["split"] == "val", "its drive is val in Cityscapes"
    assert "didn't change, skipping" in dvc(project, "repro")


def test_dvc_diff_names_the_files_that_changed(second: Path) -> None:
    diff = json.loads(dvc(second, "diff", "v1", "--json"))
    assert {each["path"] for each in diff["modified"]} == {
        "data/prepared/",
        "data/prepared/index.parquet",
        "data/prepared/train/bochum/images.npy",
    }
    assert diff["added"] == diff["deleted"] == []


def test_the_same_frames_again_are_the_same_version_and_not_prepared_again(
    first: tuple[Path, str], changed: Path
) -> None:
    shutil.rmtree(changed / "data/raw")
    shutil.copytree(first[0] / "data/raw", changed / "data/raw")
    assert "is cached - skipping run" in dvc(changed, "repro")
    assert version_of(changed) == version_of(first[0]) == data_version(changed / "data/prepared")


def test_an_older_lock_brings_its_data_back(first: tuple[Path, str], changed: Path) -> None:
    git(changed, "checkout", "v1", "--", "dvc.lock")
    dvc(changed, "checkout")
    assert data_version(changed / "data/prepared") == version_of(first[0])


def test_a_failed_repro_says_why_and_keeps_the_last_version(project: Path) -> None:
    before = version_of(project)
    broken = image_path(project / "data/raw", "val", "munster_000000_000000")
    broken.write_bytes(broken.read_bytes()[:100])
    failed = run(project, sys.executable, "-m", "dvc", "repro", status=255)
    errors = [line for line in failed.stderr.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1
    assert broken.name in errors[0]
    assert "Traceback" not in failed.stderr
    assert version_of(project) == before
    dvc(project, "checkout")
    assert data_version(project / "data/prepared") == before


def test_frames_outside_the_repository_can_be_prepared(project: Path, tmp_path: Path) -> None:
    before = version_of(project)
    (tmp_path / "elsewhere").mkdir()
    shutil.move(project / "data/raw", tmp_path / "elsewhere/raw")
    set_params(project, data={"root": str(tmp_path / "elsewhere/raw")})
    dvc(project, "repro")
    assert version_of(project) == before


def test_data_comes_back_from_a_folder(project: Path) -> None:
    before = version_of(project)
    forget(project)
    dvc(project, "pull")
    assert data_version(project / "data/prepared") == before
    assert git(project, "status", "--porcelain") == ""


def test_a_clone_pulls_the_data_without_the_frames(project: Path) -> None:
    clone = project.with_name("clone")
    git(project, "clone", "--quiet", str(project), str(clone))
    dvc(clone, "pull")
    assert not (clone / "data/raw").exists()
    assert PreparedDataset(clone / "data/prepared").version == version_of(project)


def in_parts(project: Path, store: str, **prepare: Any) -> str:
    """The data version of the project's frames, prepared in four parts without DVC's cache."""
    settings = {"data.remote": store, "prepare.size": SIZE, "prepare.workers": 1}
    recipe = load_params(overrides=settings | prepare)
    addresses = plan(str(project / "data/raw"), 4, recipe)
    for address in addresses:
        prepare_part(address)
    return join(addresses).version


def test_data_prepared_in_parts_is_adopted_as_if_by_repro(
    project: Path, tmp_path: Path, streetseg: Command
) -> None:
    store, lock = str(tmp_path / "parts"), (project / "dvc.lock").read_text()
    version = in_parts(project, store)
    assert version == version_of(project)
    (project / "dvc.lock").unlink()
    done = streetseg("adopt", version, "--set", f"data.remote={store}", cwd=project)
    assert done.returncode == 0, done.stderr
    stages, before = (yaml.safe_load(text)["stages"] for text in (read_lock(project), lock))
    assert stages == {"prepare": before["prepare"]}
    dvc(project, "repro")
    assert read_lock(project) == lock
    assert "Data and pipelines are up to date" in dvc(project, "status")


def test_adopted_data_is_pulled_without_the_frames(
    project: Path, tmp_path: Path, streetseg: Command
) -> None:
    store = str(tmp_path / "parts")
    version = in_parts(project, store)
    clone = tmp_path / "clone"
    git(tmp_path, "clone", "--quiet", str(project), str(clone))
    (clone / "dvc.lock").unlink()
    done = streetseg("adopt", version, "--set", f"data.remote={store}", cwd=clone)
    assert done.returncode == 0, done.stderr
    assert version_of(clone) == version
    dvc(clone, "remote", "modify", "store", "url", store)
    dvc(clone, "pull")
    assert data_version(clone / "data/prepared") == version
    (out,) = yaml.safe_load((clone / "dvc.lock").read_text())["stages"]["prepare"]["outs"]
    assert (out["nfiles"], out["md5"]) == (10, version)


def test_what_was_made_otherwise_or_is_incomplete_is_not_adopted(
    project: Path, tmp_path: Path, streetseg: Command
) -> None:
    store, lock = str(tmp_path / "parts"), (project / "dvc.lock").read_bytes()
    other = in_parts(project, store, **{"prepare.size": SMALLER})
    done = streetseg("adopt", other, "--set", f"data.remote={store}", cwd=project)
    assert (done.returncode, "of [32, 64]" in done.stderr) == (1, True)
    version = in_parts(project, store)
    md5 = listing(project, version)["train/aachen/images.npy"]
    (tmp_path / "parts/files/md5" / md5[:2] / md5[2:]).unlink()
    done = streetseg("adopt", version, "--set", f"data.remote={store}", cwd=project)
    assert done.returncode == 1
    assert "incomplete in" in done.stderr
    assert "train/aachen/images.npy is missing" in done.stderr
    assert (project / "dvc.lock").read_bytes() == lock


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The address of an S3 server with an empty bucket, which the environment leads to."""
    with s3_server(BUCKET) as running:
        yield running.meta.endpoint_url


def client(url: str) -> Any:
    """To see the bucket by another way than DVC's; it tries until the server is there."""
    patient = Config(retries={"mode": "standard", "max_attempts": 12})
    return boto3.client("s3", endpoint_url=url, config=patient)


@pytest.fixture(scope="module")
def uploaded(first: tuple[Path, str], s3: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project that was pushed to S3."""
    copy = Path(shutil.copytree(first[0], tmp_path_factory.mktemp("uploaded") / "project"))
    dvc(copy, "remote", "add", "--default", "cloud", CLOUD)
    dvc(copy, "push")
    return copy


@pytest.fixture
def emptied(uploaded: Path, tmp_path: Path) -> Path:
    """A copy of it whose data is in S3 only."""
    copy = Path(shutil.copytree(uploaded, tmp_path / "project"))
    forget(copy)
    return copy


def in_bucket(s3: str) -> dict[str, int]:
    """Key and bytes of each object below the remote's address."""
    listing = client(s3).list_objects_v2(Bucket=BUCKET, Prefix="prefix/")
    return {each["Key"]: each["Size"] for each in listing["Contents"]}


@pytest.mark.slow
def test_s3_holds_an_object_for_each_file_and_their_listing(uploaded: Path, s3: str) -> None:
    version = version_of(uploaded)
    names = {key.removeprefix("prefix/files/md5/").replace("/", "") for key in in_bucket(s3)}
    assert names == {version, *listing(uploaded, version).values()}


@pytest.mark.slow
def test_data_comes_back_from_s3(emptied: Path) -> None:
    dvc(emptied, "pull")
    assert data_version(emptied / "data/prepared") == version_of(emptied)


@pytest.mark.slow
def test_an_endpoint_in_the_remotes_settings_will_do(
    emptied: Path, s3: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    dvc(emptied, "remote", "modify", "cloud", "endpointurl", s3)
    dvc(emptied, "pull")
    assert data_version(emptied / "data/prepared") == version_of(emptied)


@pytest.mark.slow
def test_a_version_is_fetched_from_s3(uploaded: Path, tmp_path: Path) -> None:
    version = version_of(uploaded)
    fetched = fetch(version, CLOUD, tmp_path / "fetched")
    assert PreparedDataset(fetched).version == version
    index = fetch(version, CLOUD, tmp_path / "index", only=INDEX_FILES)
    assert {path.name for path in index.iterdir()} == set(INDEX_FILES)


@pytest.mark.slow
def test_the_index_of_a_revision_comes_from_s3(
    uploaded: Path, emptied: Path, tmp_path: Path
) -> None:
    git(emptied, "commit", "--quiet", "--all", "-m", "a remote in S3")
    fetched = fetch_index("HEAD", Data(repository=str(emptied)), tmp_path / "index")
    assert fetched.index.equals(PreparedDataset(uploaded / "data/prepared").index)


@pytest.mark.slow
@pytest.mark.parametrize("url", [CLOUD, "s3://no-such-bucket/prefix"])
def test_what_s3_does_not_have_is_one_clear_line(s3: str, tmp_path: Path, url: str) -> None:
    absent = "0" * 32 + ".dir"
    with pytest.raises(StreetsegError, match=f"{absent} is not in {url}") as caught:
        fetch(absent, url, tmp_path / "fetched")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_object_damaged_in_s3_is_found_out(uploaded: Path, s3: str, tmp_path: Path) -> None:
    sizes = in_bucket(s3)
    largest = max(sizes, key=lambda key: sizes[key])
    for key in sizes:
        copy = {"Bucket": BUCKET, "Key": key}
        client(s3).copy_object(Bucket=BUCKET, Key=f"damaged/{key}", CopySource=copy)
    client(s3).put_object(Bucket=BUCKET, Key=f"damaged/{largest}", Body=bytes(sizes[largest]))
    with pytest.raises(StreetsegError, match=version_of(uploaded)):
        fetch(version_of(uploaded), f"s3://{BUCKET}/damaged/prefix", tmp_path / "fetched")
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_an_experiment_with_another_size_is_another_version(project: Path) -> None:
    before = version_of(project)
    dvc(project, "exp", "run", "--name", "smaller", "-S", f"prepare.size={SMALLER}")
    assert version_of(project) != before
    assert PreparedDataset(project / "data/prepared").size == tuple(SMALLER)
    assert "smaller" in dvc(project, "exp", "list", "--name-only").split()
    assert resolve("HEAD", str(project)) == before
    assert resolve("smaller", str(project)) == version_of(project)


def test_the_changes_since_a_revision_are_reported(streetseg: Command, project: Path) -> None:
    frames = project / "data/raw"
    replace_image(project, "aachen", 0)
    ids = label_path(frames, "train", "aachen_000000_000001")
    shutil.copy(label_path(frames, "train", "aachen_000000_000002"), ids)
    for path in (image_path, label_path):
        path(frames, "train", "bochum_000000_000001").unlink()
    new = np.random.default_rng(1).integers(0, 34, (64, 128), np.uint8)
    for split, name in (("train", "bochum_000000_000007"), ("val", "ulm_000000_000000")):
        put(frames, split, name, np.full((64, 128, 3), 120, np.uint8), new)
    dvc(project, "repro")
    done = streetseg("explore", "--against", "HEAD", cwd=project)
    assert "since HEAD: 2 frames added, 1 removed, 2 changed" in done.stdout
    page = (project / "outputs/explore.html").read_text()
    for name in ("train/bochum_000000_000007", "val/ulm_000000_000000", "aachen_000000_000001"):
        assert name in page


def test_nothing_changed_since_the_same_data(streetseg: Command, project: Path) -> None:
    set_params(project, data={"remote": "../store"})
    for against in ("HEAD", "v1", version_of(project), "data/prepared"):
        done = streetseg("explore", "--against", against, cwd=project)
        assert f"since {against}: 0 frames added, 0 removed, 0 changed" in done.stdout


def test_the_changes_are_reported_if_the_old_data_is_in_the_remote_only(
    streetseg: Command, project: Path
) -> None:
    forget(project)
    replace_image(project, "aachen", 0)
    dvc(project, "repro")
    done = streetseg("explore", "--against", "v1", cwd=project)
    assert "since v1: 0 frames added, 0 removed, 1 changed" in done.stdout


def test_against_nonsense_is_one_clear_line(streetseg: Command, project: Path) -> None:
    failed = streetseg("explore", "--against", "nonsense", cwd=project)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("error: no data version in dvc.lock of . at 'nonsense': ")
    assert failed.stderr.count("\n") == 1
    assert not (project / "outputs/explore.html").exists()


@pytest.mark.parametrize("gone", [[".git"], [".dvc"], [".git", ".dvc"]])
def test_a_revision_without_a_repository_is_one_clear_line(
    streetseg: Command, project: Path, gone: list[str]
) -> None:
    for name in gone:
        shutil.rmtree(project / name)
    against = "HEAD" if ".git" in gone else "nonsense"
    failed = streetseg("explore", "--against", against, cwd=project)
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.startswith("error: no data version in dvc.lock of . at ")
    assert failed.stderr.count("\n") == 1
