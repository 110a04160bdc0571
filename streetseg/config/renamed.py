"""Settings that had another name in older releases."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

RENAMED = {
    "train.selection_share": "train.holdout_fraction",
    "train.accumulate": "train.accumulation_steps",
    "train.encoder_rate": "train.encoder_lr_scale",
    "train.encoder_decay": "train.layer_decay",
    "train.warmup": "train.warmup_fraction",
    "train.loader_workers": "train.num_workers",
    "train.loss.balance": "train.loss.class_weight_power",
    "serve.max_batch": "serve.max_images_per_request",
    "serve.concurrency": "serve.max_concurrent_uploads",
    "tune.startup": "tune.n_startup_trials",
    "tune.warmup": "tune.n_warmup_steps",
    "cluster.steps.moved": "cluster.steps.data-changed",
}
"""Old key path to new key path. The error about an old name in a file gives the new one."""


FORMER = {current: former for former, current in RENAMED.items()}


def with_current_names(section: Mapping[str, Any], path: str) -> dict[str, Any]:
    """Rename the settings below the key path ``path``, such as ``train``, to the current names.

    Settings that were stored with a model or a run keep their old names.
    """
    return _renamed(section, path, RENAMED)


def with_former_names(section: Mapping[str, Any], path: str) -> dict[str, Any]:
    """The reverse of :func:`with_current_names`, in the same order."""
    return _renamed(section, path, FORMER)


def _renamed(section: Mapping[str, Any], path: str, names: Mapping[str, str]) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for key, value in section.items():
        key_path = f"{path}.{key}"
        name = names.get(key_path, key_path).removeprefix(f"{path}.")
        renamed[name] = _renamed(value, key_path, names) if isinstance(value, Mapping) else value
    return renamed
