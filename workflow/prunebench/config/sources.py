"""Where models, texts and rows of tasks come from: one pydantic model for each kind of source."""

import math
from fractions import Fraction
from pathlib import PurePosixPath as PurePath
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator, model_validator

from prunebench.config.values import (
    PACKAGE,
    REPO,
    REVISION,
    VERSION,
    Compute,
    Entry,
    FileName,
    InnerPath,
    Members,
    Seed,
    Sha256,
    Slug,
    TaskName,
    is_none,
)
from prunebench.names import a_path


class Package(Entry):
    """One release of a registry package. Pip downloads it without its dependencies."""

    kind: Literal["package"]
    package: str = Field(pattern=PACKAGE, description="name on the package registry")
    version: str = Field(pattern=VERSION)
    file: FileName = Field(description="file name of the wheel or source archive")
    sha256: Sha256 = Field(description="digest of that file")

    @property
    def origin(self) -> str:
        """The origin of the package, in words. All sources have this property."""
        return f"from {self.package} {self.version}"

    @field_validator("file")
    @classmethod
    def _is_a_wheel(cls, file: str) -> str:
        if not file.endswith(".whl"):
            raise ValueError(
                "is not a wheel: pip would run the build script of a source archive to download it. Name a wheel of "
                "the package, or download the file yourself and use a source of kind 'path'"
            )
        return file


class PackageSource(Package):
    """Files inside one release of a registry package."""

    members: Members = Field(
        description="paths of files inside the archive; no other file is extracted. A mapping gives the files new names"
    )

    @property
    def names(self) -> dict[str, str]:
        """A map from the new name of each file, which is its base name by default, to its path inside the archive."""
        return self.members if isinstance(self.members, dict) else {PurePath(path).name: path for path in self.members}

    @model_validator(mode="after")
    def _names_differ(self) -> "PackageSource":
        if len(self.names) < len(self.members):
            raise ValueError("'members': two files have the same base name: write a mapping that renames one")
        return self


class PathSource(Entry):
    """A file or directory that is already on this machine."""

    kind: Literal["path"]
    path: Annotated[str, AfterValidator(a_path)] = Field(
        description="the path, absolute or relative to the working directory"
    )

    @property
    def origin(self) -> str:
        """The origin of the file or directory, in words."""
        return f"from {self.path}"


class HubSource(Entry):
    """A repository on the Hugging Face hub at one revision. The rules fetch_* read it from the endpoint HF_ENDPOINT."""

    repo_type: ClassVar[Literal["model", "dataset"]] = "dataset"

    kind: Literal["hub"]
    repo: str = Field(pattern=REPO, description="owner/name, without the endpoint")
    revision: str = Field(
        pattern=REVISION, description="a commit of 40 digits, which never changes; or a branch, tag or refs/pr/N"
    )
    # These two keys describe the repository. No spec has them, so that a change of them fetches nothing again.
    verified: bool = Field(False, exclude=True, description="whether this project has fetched the repository")
    gated: bool = Field(
        False,
        exclude=True,
        description="whether the repository's page asks for consent, so that the hub asks for a token",
    )

    @property
    def origin(self) -> str:
        """The repository and its revision, in words."""
        return f"from {self.repo} at {self.revision}"


class HubModelSource(HubSource):
    """A model on the hub. Only its config, tokenizer and weights are fetched from the repository."""

    repo_type = "model"

    weights: Literal["safetensors", "pytorch"] = Field(
        "safetensors",
        description="pytorch: the repository has only pytorch_model*.bin; torch's unpickler of tensors (weights_only) "
        "reads them, and they are stored as safetensors on arrival",
    )


class HubCorpusSource(HubSource):
    """Files of a data set on the hub. The data set has splits of its own, so its text is not split by a hash."""

    files: dict[Literal["calibration", "tuning", "test"], Annotated[list[InnerPath], Field(min_length=1)]] = Field(
        min_length=1,
        description="for each split, paths of its files in the repository; a split without files cannot be used",
    )


class TrainedSource(Entry):
    """Random weights that rule train_model trains on text that is used neither for calibration nor for evaluation."""

    kind: Literal["trained"]
    corpora: list[Slug] = Field(min_length=1, description="corpora with `use: training`")
    unseen: list[Slug] = Field(
        default_factory=list,
        description="corpora of evaluation: documents that share text with them are left out of training, and the "
        "model is scored on their tuning split, in bits per byte",
    )
    heads: PositiveInt = Field(description="number of attention heads; `shape` has the other sizes")
    context: int = Field(512, ge=4, description="tokens of a window, the longest text that the model can read")
    steps: PositiveInt = Field(description="optimiser steps of `compute.batch_size` windows each")
    learning_rate: PositiveFloat
    seed: Seed = Field(0, description="seed of the first weights and of the order of the text")
    compute: Compute = Field(
        default_factory=Compute, description="how training computes; weights and the optimiser's sums stay in float32"
    )

    @property
    def origin(self) -> str:
        """The origin of the model, in words."""
        return f"trained here on {', '.join(self.corpora)}"


class Sampling(Entry):
    """How a model draws the next token of a text that it writes."""

    temperature: PositiveFloat = Field(
        1.0, description="logits are divided by it: below 1 likely tokens become more likely, above 1 less"
    )
    top_k: PositiveInt | None = Field(
        None, exclude_if=is_none, description="draw from so many most likely tokens; default: from all"
    )
    top_p: float | None = Field(
        None,
        gt=0,
        lt=1,
        exclude_if=is_none,
        description="draw from the fewest most likely tokens with this probability together; default: from all",
    )


class GeneratedSource(Sampling):
    """Text that each model writes itself for its own calibration. There is no such text before the model is here."""

    kind: Literal["generated"]
    prompts: Slug | None = Field(
        None,
        description="a corpus: each window begins with tokens of its calibration split, and the model writes the rest. "
        "Default: the model writes after its beginning-of-text token",
    )
    prompt_tokens: NonNegativeInt = Field(
        8,
        description="how many tokens of each written window come from `prompts`; 0: the model writes after its "
        "beginning-of-text token",
    )
    share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="the part of the windows that the model writes; the others are whole windows of `prompts`",
    )

    @model_validator(mode="after")
    def _prompts_have_a_use(self) -> "GeneratedSource":
        if self.prompts is None and (self.share < 1 or self.prompt_tokens == 0):
            key = "share" if self.share < 1 else "prompt_tokens"
            raise ValueError(f"{key!r} is about windows of 'prompts', which are missing: name a corpus")
        if self.prompts is not None and self.share == 1 and self.prompt_tokens == 0:
            raise ValueError("no window has a token of 'prompts': lower 'share' or raise 'prompt_tokens'")
        return self

    def written(self, samples: int) -> int:
        """The number of windows that the model writes among `samples`: `share` of them, rounded up."""
        # As it is written: the product of 0.55 and 100 is more than 55 in floating point.
        return math.ceil(Fraction(str(self.share)) * samples)

    @property
    def sampling(self) -> Sampling:
        """The part of the source that says how tokens are drawn."""
        return Sampling(**{name: getattr(self, name) for name in Sampling.model_fields})

    @property
    def origin(self) -> str:
        """The origin of the text, in words."""
        return "written by each model itself" + (f", beside {self.prompts}" if self.share < 1 else "")


class PairsSource(Entry):
    """Questions about images with their answers, as calibration of vision-language models: images go through them."""

    kind: Literal["pairs"]
    tasks: Slug = Field(description="a bundle of tasks with images; take a training split, which no suite evaluates")
    task: TaskName = Field(description="the task of that bundle")
    text_only: bool = Field(
        False, description="statistics count the tokens of the text alone, though those of images go through the model"
    )

    @property
    def origin(self) -> str:
        """The origin of the pairs, in words."""
        return f"questions and images of {self.tasks}"


Source = Annotated[
    PackageSource | PathSource | HubCorpusSource | GeneratedSource | PairsSource, Field(discriminator="kind")
]
ModelSource = Annotated[PackageSource | PathSource | TrainedSource | HubModelSource, Field(discriminator="kind")]
TasksSource = Annotated[Package | PathSource | HubSource, Field(discriminator="kind")]
