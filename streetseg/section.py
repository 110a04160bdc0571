"""What every group of params is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of params; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
