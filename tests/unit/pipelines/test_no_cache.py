"""Runs that take nothing from Kubeflow's cache."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.batch import batch_pipeline
from pipelines.cli.generic import main as main_of_generic
from tests.support.kfp_api import FakeKubeflow
from tests.unit.pipelines.conftest import DATA, Called


def cached(spec: dict[str, Any]) -> set[str]:
    """The steps of a pipeline that may take their outputs from the cache."""
    dags = [part["dag"] for part in [spec["root"], *spec["components"].values()] if "dag" in part]
    return {
        name
        for dag in dags
        for name, task in dag["tasks"].items()
        if task.get("cachingOptions", {}).get("enableCache")
        and "executorLabel" in spec["components"][task["componentRef"]["name"]]
    }


@pytest.mark.parametrize(
    ("option", "left"),
    [
        (["--no-cache"], set()),
        (["--no-cache", "--wait"], set()),
        (["--no-cache", "all"], set()),
        (["--no-cache", "fetch"], {"validate", "train"}),
        (["--no-cache=fetch, train"], {"validate"}),
        (["--no-cache", "evaluate"], {"fetch", "validate", "train"}),
    ],
)
def test_a_run_takes_along_a_pipeline_without_cache(
    option: list[str], left: set[str], kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    kubeflow.story = [("SUCCEEDED", {"configure": "SUCCEEDED"})]
    done = call("submit", "--data-version", DATA, *option)
    assert (done.status, done.err) == (0, "")
    assert " goes with its run, without cache for " in done.out
    assert not kubeflow.versions, "the newest would be the one that the UI offers"
    (run,) = kubeflow.runs.values()
    spec, platform = run["pipeline_spec"]["pipeline_spec"], run["pipeline_spec"]["platform_spec"]
    assert cached(spec) == left
    assert (
        "secretAsEnv"
        in platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train"]
    ), "the pods are the same"
    assert "pipeline_version_reference" not in run
    assert run["runtime_config"]["parameters"] == {"data_version": DATA}


def test_the_next_run_takes_from_the_cache_again(
    kubeflow: FakeKubeflow, call: Callable[..., Called]
) -> None:
    call("submit", "--data-version", DATA, "--no-cache")
    call("submit", "--data-version", DATA)
    (package,) = kubeflow.packages.values()
    assert cached(next(yaml.safe_load_all(package))) == {"fetch", "validate", "train"}


def test_a_compiled_pipeline_is_without_cache(call: Callable[..., Called], tmp_path: Path) -> None:
    out = tmp_path / "pipeline.yaml"
    assert call("compile", "--out", str(out), "--no-cache", "fetch,validate").status == 0
    assert cached(next(yaml.safe_load_all(out.read_text()))) == {"train"}


def test_a_step_that_is_not_there_is_one_line(
    kubeflow: FakeKubeflow, call: Callable[..., Called], tmp_path: Path
) -> None:
    done = call("submit", "--data-version", DATA, "--no-cache", "fetch,trian")
    assert (done.status, done.err) == (
        1,
        "error: --no-cache fetch,trian: the pipeline has no step 'trian': did you mean 'train'?\n",
    )
    package = tmp_path / "mine.yaml"
    package.write_text("")
    done = call("submit", "--data-version", DATA, "--package", str(package), "--no-cache")
    assert (
        done.err == f"error: --no-cache all: {package} is compiled already; give it to 'compile'\n"
    )
    assert not kubeflow.runs


def test_an_input_after_the_option_is_not_its_value(
    kubeflow: FakeKubeflow, call: Callable[..., Called], monkeypatch: pytest.MonkeyPatch
) -> None:
    images = next(name for name in batch_pipeline().component_spec.inputs if name != "overrides")
    monkeypatch.setattr(sys, "argv", ["batch", "submit", "--no-cache", f"{images}=s3://a/b"])
    with pytest.raises(SystemExit) as ended:
        main_of_generic(batch_pipeline)
    assert not ended.value.code
    (run,) = kubeflow.runs.values()
    assert run["runtime_config"]["parameters"] == {images: "s3://a/b"}
