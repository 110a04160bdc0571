"""Component: prepare one part of a dataset."""

from components import component


@component
def prepare_part(part: str) -> int:
    """Prepare the frames of a part and push them to the DVC remote; returns how many it has.

    What an earlier attempt or run has finished is kept.
    """
    from streetseg.core.errors import exit_on_error
    from streetseg.data.parts.part import prepare_part as prepare

    with exit_on_error():
        return prepare(part)
