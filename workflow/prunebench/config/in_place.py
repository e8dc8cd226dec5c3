"""Models that a study names in place, by a repository on the hub or a directory, without an entry in a catalog."""

import math
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, Field, ValidationError

from prunebench.config.explain import error_lines
from prunebench.config.values import REPO, REVISION, Entry
from prunebench.names import a_path, slug


class HubModel(Entry):
    """A model on the Hugging Face hub."""

    hub: str = Field(pattern=REPO, description="owner/name of a repository on the Hugging Face hub")
    revision: str = Field("main", pattern=REVISION, description="a commit of 40 digits, a branch, a tag or refs/pr/N")
    weights: Literal["safetensors", "pytorch"] = Field(
        "safetensors", description="pytorch: the repository has only pytorch_model*.bin"
    )

    @property
    def name(self) -> str:
        """The name of the model among the models of the config."""
        return slug(self.hub if self.revision == "main" else f"{self.hub}_{self.revision}")


class PathModel(Entry):
    """A model in a `from_pretrained` directory."""

    path: Annotated[str, AfterValidator(a_path)] = Field(description="a from_pretrained directory on this machine")

    @property
    def name(self) -> str:
        """The name of the model among the models of the config."""
        return slug(self.path.rstrip("/").rpartition("/")[2])


InPlace = HubModel | PathModel


def in_place(value: Mapping[str, Any]) -> InPlace:
    """Parse a model that is named in place. Raises ValueError, which says what is wrong with it."""
    kind = PathModel if "path" in value else HubModel
    try:
        return kind.model_validate(value)
    except ValidationError as error:
        raise ValueError("; ".join(error_lines(error, kind, value))) from None


def model_name(value: Any) -> Any:
    """Return the name of a model that is named in place. Any other `value` is returned as it is.

    Raises ValueError, which says how to write a repository or a directory, if `value` is a text with a slash.
    """
    if isinstance(value, str) and "/" in value:
        forms = f"a directory is written {_written(path=value)}"
        if re.match(REPO, value):
            forms = f"a model on the hub is written {_written(hub=value)}, and {forms}"
        raise ValueError(forms)
    return in_place(value).name if isinstance(value, Mapping) else value


def _written(**entry: str) -> str:
    """`entry` as it stands in a config."""
    return yaml.safe_dump(entry, default_flow_style=True, width=math.inf).strip()
