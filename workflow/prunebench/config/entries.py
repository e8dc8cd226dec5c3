"""What a catalog entry may say: one pydantic model per kind of entry (config/catalog/*.yaml).

Entries are *named instances*: a model with its source, a method with its parameters. Unknown keys are errors.
"""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    model_validator,
)

from prunebench.patterns import sparsity_text

SLUG = r"^[a-z0-9][a-z0-9_.]*$"
Slug = Annotated[str, Field(pattern=SLUG)]
SHA256 = r"^[0-9a-f]{64}$"
REPO = r"^([A-Za-z0-9_.-]+/)?[A-Za-z0-9_.-]+$"
REVISION = r"^[A-Za-z0-9_.][A-Za-z0-9_./-]*$"
TASK = r"^[A-Za-z0-9_-]+$"
CALIBRATION = r"^(?P<corpus>[a-z0-9][a-z0-9_.]*)_(?P<samples>[1-9]\d*)x(?P<seqlen>[1-9]\d*)$"
Sha256 = Annotated[str, Field(pattern=SHA256)]
DType = Literal["float32", "bfloat16", "float16"]
STORED: Literal["stored"] = "stored"
"""The `dtype` of a model whose weights each keep the dtype that they have in its files."""
Bos = bool | Literal["window", "auto"]
"""Where a beginning-of-text token stands: nowhere, once in front of a stream, in front of each window, or in front of
each window if the tokenizer puts one in front of a text by itself."""
DocumentKind = Literal["auto", "whole", "lines", "blank_lines", "wikiextractor", "jsonl", "parquet"]
"""How a file of text is cut into documents."""
Members = Annotated[list[str], Field(min_length=1)] | Annotated[dict[str, str], Field(min_length=1)]
Calibration = Annotated[str, Field(pattern=CALIBRATION)]
Sparsity = Annotated[
    str,
    BeforeValidator(sparsity_text, json_schema_input_type=float | str),
    Field(json_schema_extra={"examples": [0.5, 0.7]}),
]
TaskName = Annotated[str, Field(pattern=TASK)]


class Entry(BaseModel):
    """Base of every config model: unknown keys are refused, instances do not change."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Package(Entry):
    """One release of a registry package, downloaded by pip without its dependencies."""

    kind: Literal["package"]
    package: str = Field(description="name on the package registry")
    version: str
    file: str = Field(description="file name of the wheel or source archive")
    sha256: Sha256 = Field(description="digest of that file")

    @property
    def origin(self) -> str:
        """Where it comes from, in words; all sources have this."""
        return f"from {self.package} {self.version}"


class PackageSource(Package):
    """Files inside one release of a registry package."""

    members: Members = Field(
        description="paths inside the archive; nothing else is extracted. A mapping gives the files new names"
    )


class PathSource(Entry):
    """A file or directory that is already here."""

    kind: Literal["path"]
    path: str = Field(description="absolute, or relative to the working directory")

    @property
    def origin(self) -> str:
        """Where it is, in words."""
        return f"from {self.path}"


class HubSource(Entry):
    """A repository on the Hugging Face hub at one revision (rule fetch_*; the endpoint is that of HF_ENDPOINT)."""

    repo_type: ClassVar[Literal["model", "dataset"]] = "dataset"

    kind: Literal["hub"]
    repo: str = Field(pattern=REPO, description="owner/name, without the endpoint")
    revision: str = Field(
        pattern=REVISION, description="commit of 40 digits, which nothing can move; or a branch, tag or refs/pr/N"
    )
    # Not part of what it is: in no spec, so that learning more fetches nothing again.
    verified: bool = Field(False, exclude=True, description="whether somebody of this project has fetched it")
    gated: bool = Field(False, exclude=True, description="whether its page asks for consent, and the hub for a token")

    @property
    def origin(self) -> str:
        """Where it comes from, in words."""
        return f"from {self.repo} at {self.revision}"


class HubModelSource(HubSource):
    """A model on the hub: its config, tokenizer and weights; nothing else of the repository is fetched."""

    repo_type = "model"

    weights: Literal["safetensors", "pytorch"] = Field(
        "safetensors",
        description="pytorch: pytorch_model*.bin, for repositories that have nothing else; read by torch's unpickler "
        "of tensors only (weights_only) and stored as safetensors on arrival",
    )


class HubCorpusSource(HubSource):
    """Files of a data set on the hub, which has splits of its own: nothing is cut by a hash."""

    files: dict[Literal["calibration", "tuning", "test"], Annotated[list[str], Field(min_length=1)]] = Field(
        min_length=1, description="by split, paths in the repository; a split that is not there serves nobody"
    )


class Compute(Entry):
    """How a stage computes. All three move numbers (by percents at high sparsity), so all three are in the spec."""

    dtype: DType = Field("bfloat16", description="dtype of the forward passes; statistics are summed in float64")
    batch_size: PositiveInt = Field(8, description="windows per forward pass")
    threads: PositiveInt = Field(1, description="CPU threads per job; Snakemake needs at least as many --cores")


class TrainedSource(Entry):
    """Random weights, trained here on other text than that of calibration and evaluation (rule train_model)."""

    kind: Literal["trained"]
    corpora: list[Slug] = Field(min_length=1, description="corpora with `use: training`")
    unseen: list[Slug] = Field(
        default_factory=list,
        description="corpora of evaluation: what shares text with them is left out of training, and their tuning "
        "split is scored in bits per byte",
    )
    heads: PositiveInt = Field(description="attention heads; the other sizes are those of `shape`")
    context: int = Field(512, ge=4, description="tokens of a window, which is the longest that the model can read")
    steps: PositiveInt = Field(description="optimiser steps of `compute.batch_size` windows each")
    learning_rate: PositiveFloat
    seed: NonNegativeInt = Field(0, description="of the first weights and of the order of the text")
    compute: Compute = Field(default_factory=Compute, description="weights and their sums stay in float32")

    @property
    def origin(self) -> str:
        """How it came about, in words."""
        return f"trained here on {', '.join(self.corpora)}"


Source = Annotated[PackageSource | PathSource | HubCorpusSource, Field(discriminator="kind")]
ModelSource = Annotated[PackageSource | PathSource | TrainedSource | HubModelSource, Field(discriminator="kind")]
TasksSource = Annotated[Package | PathSource | HubSource, Field(discriminator="kind")]


class Shape(Entry):
    """Sizes that must be known before anything is downloaded: to reject an n:m that does not divide, to plan memory."""

    blocks: PositiveInt
    hidden: PositiveInt
    ffn: PositiveInt
    attention: PositiveInt = Field(description="input width of the attention output projection: heads x head size")
    vocabulary: PositiveInt
    # Left out of the specs of models that do not state it.
    key_value: PositiveInt | None = Field(
        None,
        exclude_if=lambda value: value is None,
        description="output width of the key and value projections: their heads x head size; default: attention",
    )


class ModelEntry(Entry):
    """One model: where its weights come from and how they are read."""

    title: str
    family: Slug = Field(description="adapter in workflow/prunebench/models/")
    source: ModelSource
    format: Literal["transformers", "gguf"] = Field(
        "transformers", description="transformers: a from_pretrained directory; gguf: converted once on arrival"
    )
    pre_tokenizer: Literal["stored", "digits"] = Field(
        "stored", description="digits: split digits one by one, which a tokenizer rebuilt from SmolLM2's GGUF forgets"
    )
    dtype: DType | Literal["stored"] = Field(
        STORED,
        description="dtype of stored weights; every cell is rounded to it before evaluation. stored, the default where "
        "weights arrive as safetensors: each keeps the dtype that it has; what is converted or trained here has "
        "bfloat16 by default",
    )
    shape: Shape | None = Field(None, description="needed unless the source is a local path, where it is read")

    @model_validator(mode="before")
    @classmethod
    def _made_here_in_bfloat16(cls, data: Any) -> Any:
        """Weights that are converted or trained here are written in one dtype, which has to be named."""
        if not isinstance(data, Mapping) or "dtype" in data:
            return data
        source = data.get("source")
        trained = isinstance(source, Mapping) and source.get("kind") == "trained"
        return {**data, "dtype": "bfloat16"} if trained or data.get("format") == "gguf" else data

    @model_validator(mode="after")
    def _made_here_in_one_dtype(self) -> "ModelEntry":
        if self.dtype == STORED and (self.format == "gguf" or isinstance(self.source, TrainedSource)):
            raise ValueError("'dtype' must be float32, bfloat16 or float16: the weights are written here")
        return self

    @model_validator(mode="after")
    def _shape_is_known(self) -> "ModelEntry":
        if self.shape is None and self.source.kind != "path":
            raise ValueError("'shape' is needed: the model is not here yet, so its sizes must be stated")
        return self

    @model_validator(mode="after")
    def _hub_model_is_read_as_it_is(self) -> "ModelEntry":
        if isinstance(self.source, HubModelSource) and self.format != "transformers":
            raise ValueError("'format' must be transformers: a GGUF file is read from a package or a local path")
        return self

    @model_validator(mode="after")
    def _can_be_trained(self) -> "ModelEntry":
        if isinstance(self.source, TrainedSource) and self.shape:
            if self.family != "opt":
                raise ValueError("'family' must be opt: that is what can be trained here")
            if (self.format, self.pre_tokenizer) != ("transformers", "stored"):
                raise ValueError("'format' and 'pre_tokenizer' are for models that arrive, not for those trained here")
            if self.shape.attention != self.shape.hidden or self.shape.hidden % self.source.heads:
                raise ValueError("'shape.attention' must be 'shape.hidden', and 'source.heads' must divide it")
        return self


def is_none(value: object) -> bool:
    """For `exclude_if`: a key without a value is left out of specs."""
    return value is None


def _is_pack(value: object) -> bool:
    return value == "pack"


class CorpusEntry(Entry):
    """One body of text, cut into documents and these into splits, or kept whole for training or calibration."""

    title: str
    source: Source
    documents: Literal[DocumentKind, "requests"] = Field(
        description="how a file is cut into documents. auto: by its suffix, .txt whole, .jsonl (.json) by lines, "
        ".parquet by rows, each also .gz; requests: the texts that requests of OLMo's evaluation are about; of a hub "
        "source: parquet or jsonl (.json.gz too), texts as they are"
    )
    # Keys that only some corpora have are left out of the specs of the others.
    column: str | None = Field(
        None,
        exclude_if=is_none,
        description="column of parquet, key of JSON lines, with the text; default: text",
    )
    join: str | None = Field(
        None, exclude_if=is_none, description="of a hub source: makes one text of a split, tokenised as a whole"
    )
    calibration: Literal["pack", "documents"] = Field(
        "pack",
        exclude_if=_is_pack,
        description="pack: windows of one stream; documents: each window from a random document, those not "
        "longer than a window rejected",
    )
    # Part of the spec of tokens alone: the text stays the same.
    calibration_bos: Bos = Field(
        False,
        exclude=True,
        description="a beginning-of-text token in calibration. true: one in front of the stream; window: in front of "
        "each window; auto: in front of each window if the model's tokenizer puts one in front of a text by itself",
    )
    test_documents: PositiveInt | None = Field(
        None, exclude_if=is_none, description="of a hub source: so many first documents are the test split"
    )
    test_windows: PositiveInt | None = Field(
        None, exclude_if=is_none, description="perplexity takes at most so many first windows of the test split"
    )
    use: Literal["evaluation", "training", "calibration"] = Field(
        "evaluation",
        description="evaluation: cut into the splits calibration, tuning and test; training or calibration: all one "
        "split",
    )

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that it has."""
        if isinstance(self.source, HubCorpusSource):
            return tuple(self.source.files)
        return ("calibration", "tuning", "test") if self.use == "evaluation" else (self.use,)

    @model_validator(mode="after")
    def _keys_go_with_the_source(self) -> "CorpusEntry":
        hub = isinstance(self.source, HubCorpusSource)
        if hub and (self.use != "evaluation" or self.documents not in ("parquet", "jsonl")):
            raise ValueError("'documents' of a hub source must be parquet or jsonl, and 'use' evaluation")
        if self.column is not None and self.documents not in ("auto", "jsonl", "parquet"):
            raise ValueError("'column' is for documents in jsonl or parquet (or auto): no other file has columns")
        for key in ("join", "test_documents"):
            if not hub and getattr(self, key) is not None:
                raise ValueError(f"{key!r} is for a hub source, whose splits are its own")
        if self.calibration == "documents" and self.calibration_bos is True:
            raise ValueError("'calibration_bos': there is no stream to put a token in front of; write window or auto")
        return self


class TaskData(Entry):
    """Rows for one of lm-eval's tasks. Where it has many subjects, a `*` in `stock` and `rows` stands for a subject."""

    title: str | None = Field(None, exclude_if=is_none, description="column head in tables; default: the task's name")
    stock: str = Field(description="the YAML file of the task below lm_eval/tasks; prompts and metrics are its own")
    rows: dict[TaskName, str] = Field(
        min_length=1,
        description="by split, a file of the source: .arrow (as datasets saves it), .parquet, .jsonl or .jsonl.gz",
    )
    requests: Literal["arc", "boolq", "lambada", "openbookqa"] | None = Field(
        None, description="the files hold requests of OLMo's evaluation of this task, to be turned back into rows"
    )

    @model_validator(mode="after")
    def _subjects_everywhere(self) -> "TaskData":
        stars = {"*" in file for file in (self.stock, *self.rows.values())}
        if len(stars) > 1:
            raise ValueError("'*' stands for a subject, so 'stock' and all of 'rows' have one or none has")
        if self.requests and True in stars:
            raise ValueError("'requests' are of one task: they cannot be of many subjects ('*')")
        return self


class TasksEntry(Entry):
    """Rows for tasks of lm-eval, from one source."""

    title: str
    source: TasksSource
    tasks: dict[TaskName, TaskData] = Field(min_length=1)

    @model_validator(mode="after")
    def _files_are_named(self) -> "TasksEntry":
        if isinstance(self.source, HubSource) and any("*" in data.stock for data in self.tasks.values()):
            raise ValueError("of a hub source every file is named: it has no '*'")
        return self


class PluginEntry(Entry):
    """A named instance of a plug-in: its preset, with single parameters changed."""

    preset: str = "paper"
    params: dict[str, Any] = Field(default_factory=dict)
    title: str | None = Field(None, description="row label in tables; default: the plug-in's own")


class MethodEntry(PluginEntry):
    """A named pruning method."""

    method: Slug
    compute: Compute | None = Field(None, description="replaces the study's compute settings, for ablations")


class AllocatorEntry(PluginEntry):
    """A named allocator."""

    allocator: Slug
    layers: Literal["all", "first_half"] = Field(
        "all", description="first_half: of L blocks only the first L/2, rounded down, are pruned, at the full sparsity"
    )


class SuiteEntry(Entry):
    """A named evaluation: a suite plug-in with its whole protocol as parameters."""

    suite: Slug
    title: str | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    compute: Compute | None = Field(None, description="replaces the study's compute settings")


class SearchEntry(Entry):
    """A named search for an allocation. What it finds can serve other models, methods and sparsities."""

    title: str | None = Field(None, description="label in figures; default: its name")
    model: Slug
    calibration: Calibration = Field(description="where the statistics of the dense model come from")
    calibration_seed: NonNegativeInt = 0
    sparsity: Sparsity
    space: Literal["functions", "slopes"] = Field(
        "functions", description="functions: DSA's, for the allocator dsa; slopes: those of the allocator atp"
    )
    strategy: Literal["evolution", "random", "grid"] = Field(
        "evolution", description="grid: every candidate once, for slopes"
    )
    evaluations: PositiveInt = Field(100, description="how often the model may run; each seed has so many")
    seeds: list[NonNegativeInt] = Field([0], min_length=1, description="one job each; the best of all is what counts")
    corpus: Slug = Field("c4_type", description="candidates are judged on its tuning split")
    windows: PositiveInt = Field(8, description="windows of it")
    seqlen: int = Field(512, ge=2, description="tokens per window")
    population: PositiveInt = Field(20, description="of the evolution: how many survive")
    sample_ratio: float = Field(0.9, gt=0, le=1, description="of the evolution: the part that is looked at in a round")
    parents: PositiveInt = Field(5, description="of the evolution: how many of that part may have children")
    compute: Compute | None = Field(None, description="replaces the study's compute settings")

    @model_validator(mode="after")
    def _can_be_tried(self) -> "SearchEntry":
        if (self.strategy == "grid") and self.space != "slopes":
            raise ValueError("'strategy': a grid is for slopes, there are too many functions")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("'seeds': one stands there twice")
        return self
