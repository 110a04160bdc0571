"""What every group of settings is."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A group of settings in a YAML file; a key it does not know is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)
