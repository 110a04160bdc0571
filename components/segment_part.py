"""Components: segment the images of a folder or a prefix in parts."""

from kfp.dsl import Input, Model

from components import component


@component
def list_parts(parts: int, destination: str) -> list:
    """The parts, such as 0/4 for the first of four."""
    from streetseg.core.errors import StreetsegError, exit_on_error

    with exit_on_error():
        if parts < 1:
            raise StreetsegError(f"parts={parts}: give at least 1")
        if not destination:
            raise StreetsegError("parts need an output that all pods see, such as s3://...")
    return [f"{number}/{parts}" for number in range(parts)]


@component
def segment_part(
    model: Input[Model], source: str, destination: str, overrides: str, part: str
) -> int:
    """Write the masks of a part of the images to the destination; returns how many there are.

    Masks of an earlier attempt or run are kept. An image that cannot be used fails no part: the
    step ``segment`` lists it.
    """
    from components.artifacts import checked
    from streetseg.config.params import load_params
    from streetseg.core.errors import exit_on_error
    from streetseg.prediction.batch import segment_folder
    from streetseg.prediction.batch_table import Part

    with exit_on_error():
        params = load_params(overrides=overrides)
        batch = segment_folder(
            source,
            destination,
            checked(model),
            model.metadata.get("registered", ""),
            max_megapixels=params.serve.max_megapixels,
            windows=params.evaluate,
            part=Part.parse(part),
        )
    print(f"part {part}: {batch.masks} masks, {len(batch.failed)} images without one")
    return batch.masks
