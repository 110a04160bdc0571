"""Every setting, typed and validated.

``params.yaml`` repeats the defaults of this file with a comment on each. A recipe holds only the
settings that differ from them. ``--set key.path=value`` overrides both.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, TypeAdapter, model_validator

from streetseg.config.cluster import Cluster
from streetseg.config.overrides import parse_overrides, split_overrides
from streetseg.config.search_space import Range, SearchSpace
from streetseg.config.types import (
    NUMBER,
    YEAR_S,
    Address,
    Confidence,
    Count,
    CountOrZero,
    Fraction,
    Megabytes,
    Megapixels,
    NonNegative,
    PollSeconds,
    Positive,
    Seconds,
    Seed,
    Side,
    Subfolder,
)
from streetseg.config.yaml_files import Section, is_yaml, read_yaml, validated
from streetseg.core.errors import StreetsegError, did_you_mean
from streetseg.core.provenance import REPOSITORY

PACKAGED = Path(__file__).parent
SHIPPED = PACKAGED if (PACKAGED / "recipes").is_dir() else REPOSITORY
"""The folder of params.yaml and recipes/: this package in a wheel, the top of a checkout."""
RECIPES = SHIPPED / "recipes"
PARAMS = Path("params.yaml")


class SourceFolder(Section):
    """One of several sources, and the folder of its frames below ``data.root``."""

    source: str
    folder: Subfolder


class Data(Section):
    """Where the frames are."""

    source: str = "cityscapes"
    sources: tuple[SourceFolder, ...] = ()
    target: str = "auto"
    fold: CountOrZero = 0
    root: Path = Path("data/raw")
    prepared: Path = Path("data/prepared")
    remote: Address = "data/remote"
    repository: Address = "."


class Synth(Section):
    """The synthetic street scenes that stand in for Cityscapes."""

    size: tuple[Count, Count] = (512, 1024)
    frames: dict[Literal["train", "val", "test"], Count] = {"train": 96, "val": 24}
    cities: Count = 4
    region: Literal["temperate", "desert"] = "temperate"
    seed: Seed = 0


class Prepare(Section):
    """Conversion of the source frames to the arrays that models read."""

    size: tuple[Side, Side] = (256, 512)
    fit: Literal["stretch", "pad", "crop"] = "stretch"
    on_error: Literal["fail", "skip"] = "fail"
    workers: CountOrZero = 0


class Validate(Section):
    """Bounds of the checks on the prepared data before training."""

    min_frames: dict[Literal["train", "val"], Count] = {"train": 16, "val": 4}
    max_skipped: Fraction = 0.01
    source_size: tuple[Count, Count] | None = None
    max_aspect_change: NonNegative = 0.1
    max_void_share: Fraction = 0.95
    min_category_frames: CountOrZero = 3
    brightness: tuple[NonNegative, NonNegative] = (10, 245)
    sharpness: NonNegative = 5
    max_deviation: NonNegative = 6
    near_duplicate_bits: Annotated[int, Field(ge=-1, le=255), NUMBER] = 32
    reference: str | None = None
    share_tolerance: NonNegative = 0.5


class Model(Section):
    """The network."""

    architecture: str = "Unet"
    encoder: str = "tu-tf_efficientnet_lite0"
    encoder_weights: str = "imagenet"
    skip_scale: Positive | None = None
    init_from: str | None = None


class Loss(Section):
    """The weight of each term of the loss, which is their sum, and the settings of each term."""

    cross_entropy: NonNegative = 1.0
    class_weight_power: Fraction = 0.5
    label_smoothing: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.0
    ohem_share: Annotated[float, Field(gt=0, le=1), NUMBER] = 1.0
    dice: NonNegative = 1.0
    jaccard: NonNegative = 0.0
    focal: NonNegative = 0.0
    focal_gamma: NonNegative = 2.0
    bce: NonNegative = 0.0
    tversky: NonNegative = 0.0
    focal_tversky: NonNegative = 0.0
    tversky_alpha: Positive = 0.3
    tversky_beta: Positive = 0.7
    focal_tversky_gamma: Annotated[float, Field(ge=1), NUMBER] = 1.333

    @model_validator(mode="after")
    def _something_to_minimise(self) -> Loss:
        terms = "cross_entropy", "dice", "jaccard", "focal", "bce", "tversky", "focal_tversky"
        if not any(getattr(self, term) for term in terms):
            raise ValueError(f"at least one of {', '.join(terms)} must be above 0")
        return self


class Augment(Section):
    """Random changes of the training frames."""

    flip: Fraction = 0.5
    scale: tuple[Positive, Positive] = (0.75, 1.5)
    crop: tuple[Side, Side] | None = None
    rare_crop: Fraction = 0.0
    rotate: Annotated[float, Field(ge=0, le=180), NUMBER] = 0.0
    shear: Annotated[float, Field(ge=0, lt=90), NUMBER] = 0.0
    perspective: Fraction = 0.0
    brightness: Fraction = 0.25
    contrast: Fraction = 0.25
    saturation: Fraction = 0.25
    hue: Annotated[float, Field(ge=0, le=0.5), NUMBER] = 0.05
    blur: Fraction = 0.0
    noise: Fraction = 0.0
    sharpen: Fraction = 0.0
    rain: Fraction = 0.0
    fog: Fraction = 0.0
    sun_flare: Fraction = 0.0
    shadow: Fraction = 0.0
    dirt: Fraction = 0.0

    @model_validator(mode="after")
    def _ordered(self) -> Augment:
        if self.scale[0] > self.scale[1]:
            raise ValueError("scale must be [smallest, largest]")
        return self


class Train(Section):
    """The training."""

    epochs: Count = 60
    max_frames: CountOrZero = 0
    batch_size: Count = 8
    learning_rate: Positive = 1e-3
    weight_decay: NonNegative = 1e-2
    encoder_lr_scale: NonNegative = 1.0
    layer_decay: Annotated[float, Field(gt=0, le=1), NUMBER] = 1.0
    freeze_epochs: CountOrZero = 0
    unfreeze: Fraction = 1.0
    warmup_fraction: Fraction = 0.1
    schedule: Literal["cosine", "poly"] = "cosine"
    accumulation_steps: Count = 1
    gradient_clip: NonNegative = 0.0
    ema: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.0
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    compile: bool = False
    loss: Loss = Loss()
    augment: Augment = Augment()
    holdout_fraction: Annotated[float, Field(gt=0, lt=0.5), NUMBER] = 0.1
    patience: Count = 15
    seed: Seed = 0
    device: str = "auto"
    num_workers: CountOrZero = 0
    checkpoint_minutes: Annotated[float, Field(ge=0, le=YEAR_S / 60), NUMBER] = 10.0
    checkpoint: Address | None = None


class Tune(Section):
    """The search for better training settings."""

    trials: Count = 20
    n_startup_trials: CountOrZero = 5
    n_warmup_steps: CountOrZero = 10
    space: SearchSpace = Field(
        {
            "train.learning_rate": Range(low=1e-4, high=1e-2, log=True),
            "train.weight_decay": Range(low=1e-4, high=1e-1, log=True),
            "train.encoder_lr_scale": [0.1, 0.3, 1.0],
            "train.loss.class_weight_power": [0.0, 0.5, 1.0],
        },
        min_length=1,
    )


class Evaluate(Section):
    """Additional scores of an evaluation, and windows of predictions."""

    tta: tuple[Literal["flip", "scales"], ...] = ()
    window: tuple[Side, Side] | None = None
    overlap: Annotated[float, Field(ge=0, lt=1), NUMBER] = 0.333


class Gate(Section):
    """The conditions for registering a model."""

    miou_floor: Fraction = 0.6
    iou_floors: dict[str, Fraction] = {}
    condition_floors: dict[str, Fraction] = {}
    allow_never_predicted: list[str] = []
    against_champion: bool = True
    confidence: Confidence = 0.95
    protected: list[str] = ["human", "vehicle"]
    tolerance: Fraction = 0.01
    source_tolerance: Fraction = 0.01
    protected_confidence: Confidence = 0.8
    fail_on_gate: bool = False


class Registry(Section):
    """Where runs and models are recorded."""

    tracking_uri: Address | None = None
    experiment: str = "streetseg"
    run_name: str | None = None
    auto_promote: bool = False
    int8: bool = False
    model_name: str = Field("street-segmenter", pattern=r"^[.\- ]*\w[\w.\- ]*$")


class Serve(Section):
    """Limits and operation of the HTTP service."""

    max_megabytes: Megabytes = 20
    max_megapixels: Megapixels = 50
    max_images_per_request: Count = 16
    max_concurrent_uploads: Count = 32
    timeout: Seconds = 30
    batch_size: Count = 4
    threads: CountOrZero = 0
    workers: Count = 1
    poll_seconds: PollSeconds = 10
    model: str | None = None
    cache: str = "outputs/serving"
    drift_window: Count = Field(1000, ge=200)
    hard_frames: Path | None = None
    hard_confidence: Fraction = 0.7
    hard_frames_pause: NonNegative = 10.0
    hard_frames_megabytes: Megabytes = 1000


class Params(Section):
    """All settings."""

    data: Data = Data()
    synth: Synth = Synth()
    prepare: Prepare = Prepare()
    validation: Validate = Field(Validate(), alias="validate")
    model: Model = Model()
    train: Train = Train()
    tune: Tune = Tune()
    evaluate: Evaluate = Evaluate()
    gate: Gate = Gate()
    registry: Registry = Registry()
    serve: Serve = Serve()
    cluster: Cluster = Cluster()

    def to_dict(self) -> dict[str, Any]:
        """Plain data in the shape of ``params.yaml``, without settings that are None."""
        return self.model_dump(mode="json", by_alias=True, exclude_none=True)

    def differences(self, usual: Params | None = None) -> dict[str, Any]:
        """The settings that differ from ``usual``, or from the defaults, as a recipe holds them."""
        return _differences(self, usual or Params())

    def override(self, overrides: Mapping[str, Any], origin: str = "params") -> Params:
        """A copy with the settings in ``overrides``, a mapping from key path to value.

        Raises:
            StreetsegError: an unknown key or an invalid value; the message begins with ``origin``.
        """
        tree = self.to_dict()
        for key, value in overrides.items():
            _set(tree, key, value, origin)
        return validated(TypeAdapter(Params), tree, origin)


def load_params(
    path: Path | None = None, overrides: Iterable[str] | Mapping[str, Any] = ()
) -> Params:
    """Read a YAML file of settings, then apply overrides.

    Args:
        path: settings that the file leaves out keep their defaults; None means the defaults alone.
            A file not called params.yaml is a recipe, and its name becomes ``registry.run_name``
            unless that is set.
        overrides: ``key.path=value`` strings (the value read as YAML), one text of them with blanks
            or line breaks between, or a mapping from key path to value.

    Raises:
        StreetsegError: the file is missing or no YAML, a key is unknown or a value invalid.
    """
    tree: dict[str, Any] = {}
    origin = "params"
    if path is not None:
        tree, origin = read_yaml(path), str(path)
    if isinstance(overrides, str):
        overrides = parse_overrides(split_overrides(overrides), "overrides")
    elif not isinstance(overrides, Mapping):
        overrides = parse_overrides(overrides)
    for key, value in overrides.items():
        _set(tree, key, value, "--set")
    params = validated(TypeAdapter(Params), tree, origin)
    if path is None or path.name == PARAMS.name or params.registry.run_name:
        return params
    registry = params.registry.model_copy(update={"run_name": path.stem})
    return params.model_copy(update={"registry": registry})


def load_params_here(params: Path, overrides: Iterable[str] | Mapping[str, Any] = ()) -> Params:
    """Read the settings that ``--params`` names, then apply overrides as :func:`load_params` does.

    ``params`` is a YAML file, or the name of a recipe that comes with streetseg. ``params.yaml``
    may be absent: that means the defaults.

    Raises:
        StreetsegError: no such file or recipe, an unknown key, or an invalid value.
    """
    if params == PARAMS and not params.exists():
        return load_params(None, overrides)
    if is_yaml(params) or params.is_file():
        return load_params(params, overrides)
    return load_recipe(str(params), overrides)


def load_recipe(name: str, overrides: Iterable[str] | Mapping[str, Any]) -> Params:
    """Read the recipe ``<name>.yaml`` that comes with streetseg; ``default`` means the defaults.

    Raises:
        StreetsegError: no recipe of this name, an unknown key, or an invalid value.
    """
    recipes = list_recipes()
    if name not in recipes:
        hint = did_you_mean(name, recipes, f"choose one of {', '.join(recipes)}")
        raise StreetsegError(f"no recipe named '{name}': {hint}")
    return load_params(recipes[name], overrides)


def list_recipes() -> dict[str, Path | None]:
    """The file of each recipe that comes with streetseg, by name; ``default`` needs none."""
    return {"default": None} | {path.stem: path for path in sorted(RECIPES.glob("*.yaml"))}


def read_settings(settings: Any) -> Params:
    """Read settings as one step of a pipeline hands them to another.

    Raises:
        StreetsegError: no mapping, an unknown key, or an invalid value.
    """
    if not isinstance(settings, Mapping):
        raise StreetsegError("settings is no mapping: give it those of the step configure")
    return validated(TypeAdapter(Params), {**settings}, "settings")


def _set(tree: dict[str, Any], key: str, value: Any, origin: str) -> None:
    *sections, leaf = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise StreetsegError(f"{origin} {key}: '{section}' is a value, not a section")
    tree[leaf] = value


def _differences(section: Section, usual: Section) -> dict[str, Any]:
    plain = section.model_dump(mode="json", by_alias=True, exclude_none=True)
    tree: dict[str, Any] = {}
    for name, field in type(section).model_fields.items():
        value, default = getattr(section, name), getattr(usual, name)
        if value != default:
            key = field.alias or name
            nested = isinstance(value, Section)
            tree[key] = _differences(value, default) if nested else plain.get(key)
    return tree
