"""One pydantic model for each kind of catalog entry (config/catalog/*.yaml).

An entry is a *named instance*: a model with its source, or a method with its parameters. Unknown keys are errors.
"""

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, PositiveInt, model_validator

from prunebench.config.sources import (
    GeneratedSource,
    HubCorpusSource,
    HubModelSource,
    ModelSource,
    PackageSource,
    PairsSource,
    Source,
    TrainedSource,
)
from prunebench.config.values import (
    STORED,
    Bos,
    Calibration,
    Compute,
    DocumentKind,
    DType,
    Entry,
    Line,
    Seed,
    Slug,
    Sparsity,
    is_none,
)
from prunebench.names import LONGEST_SLUG


class Shape(Entry):
    """Sizes of a model that must be known before its download, to check n:m patterns and to plan memory."""

    blocks: PositiveInt
    hidden: PositiveInt
    ffn: PositiveInt
    attention: PositiveInt = Field(
        description="input width of the attention's output projection: number of heads x size of a head"
    )
    vocabulary: PositiveInt
    # The spec of a model has this width only if the entry states it.
    key_value: PositiveInt | None = Field(
        None,
        exclude_if=is_none,
        description="output width of the key and value projections: number of their heads x size of a head; default: "
        "the value of `attention`",
    )
    # No spec has it: a longer text than the model can read is refused, not computed in another way.
    context: PositiveInt | None = Field(
        None,
        exclude=True,
        description="the longest text that the model can read, in tokens; longer windows are refused at once. Default: "
        "not known before the model has arrived",
    )


class ModelEntry(Entry):
    """One model: where its weights come from, and how they are read."""

    title: Line
    family: Slug = Field(description="name of an adapter in workflow/prunebench/models/")
    source: ModelSource
    format: Literal["transformers", "gguf"] = Field(
        "transformers",
        description="transformers: a from_pretrained directory; gguf: a file that is converted once, on arrival",
    )
    pre_tokenizer: Literal["stored", "digits"] = Field(
        "stored",
        description="digits: numbers are split into digits, which a tokenizer rebuilt from SmolLM2's GGUF forgets",
    )
    dtype: DType | Literal["stored"] = Field(
        STORED,
        description="dtype of the stored weights; the weights of every cell are rounded to it before evaluation. "
        "stored, the default for weights that arrive as safetensors: each weight keeps its dtype. Models that are "
        "converted or trained here have bfloat16 by default",
    )
    shape: Shape | None = Field(
        None, description="sizes of the model; needed unless the source is a local path, where they are read"
    )

    @model_validator(mode="before")
    @classmethod
    def _made_here_in_bfloat16(cls, data: Any) -> Any:
        """Name bfloat16 as the dtype of weights that are converted or trained here, if the entry names none."""
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
    def _has_one_gguf(self) -> "ModelEntry":
        if self.format == "gguf" and isinstance(self.source, PackageSource):
            count = sum(name.endswith(".gguf") for name in self.source.names)
            if count != 1:
                raise ValueError(f"'source.members' must name exactly one .gguf file, not {count}")
        return self

    @model_validator(mode="after")
    def _can_be_trained(self) -> "ModelEntry":
        if isinstance(self.source, TrainedSource) and self.shape:
            if self.family != "opt":
                raise ValueError("'family' must be opt: no other family can be trained here")
            if (self.format, self.pre_tokenizer) != ("transformers", "stored"):
                raise ValueError("'format' and 'pre_tokenizer' are for models that arrive, not for those trained here")
            if self.shape.attention != self.shape.hidden or self.shape.hidden % self.source.heads:
                raise ValueError("'shape.attention' must be 'shape.hidden', and 'source.heads' must divide it")
        return self


def _is_pack(value: object) -> bool:
    return value == "pack"


class CorpusEntry(Entry):
    """One body of text. It is cut into documents, and these into splits unless the corpus has one use only."""

    title: Line
    source: Source
    documents: Literal[DocumentKind, "requests"] | None = Field(
        None,
        description="how a file is cut into documents; needed unless the source is generated, which has none. auto: "
        "the suffix decides; a .txt file is one document, .jsonl (.json) has one a line, .parquet one a row, each also "
        "as .gz; requests: the texts that requests of OLMo's evaluation are about. A hub source has parquet or jsonl "
        "(also .json.gz), whose texts are not changed",
    )
    # The spec of a corpus has the following keys only if the entry states them.
    column: Line | None = Field(
        None,
        exclude_if=is_none,
        description="the column (parquet) or key (JSON lines) that holds the text; default: text",
    )
    join: str | None = Field(
        None,
        max_length=LONGEST_SLUG,
        exclude_if=is_none,
        description="for a hub source: joins the documents of a split to one text, which is tokenised as a whole",
    )
    calibration: Literal["pack", "documents"] = Field(
        "pack",
        exclude_if=_is_pack,
        description="pack: windows are cut from one stream of all documents; documents: each window is cut from a "
        "random document that is longer than a window",
    )
    # Only the spec of calibration tokens has this key, because the text of the corpus does not depend on it.
    calibration_bos: Bos = Field(
        False,
        exclude=True,
        description="whether calibration has beginning-of-text tokens. true: one in front of the stream; window: one "
        "in front of each window; auto: as window if the model's tokenizer puts one in front of a text by itself",
    )
    test_documents: PositiveInt | None = Field(
        None, exclude_if=is_none, description="for a hub source: the number of first documents that are the test split"
    )
    test_windows: PositiveInt | None = Field(
        None,
        exclude_if=is_none,
        description="the largest number of first windows of the test split that perplexity takes",
    )
    # No spec has it: a calibration of more tokens is refused, not computed in another way.
    calibration_tokens: PositiveInt | None = Field(
        None,
        exclude=True,
        description="the calibration split has fewer tokens than this with any tokenizer; a calibration that needs "
        "more is refused at once. Default: not known before the text has arrived",
    )
    use: Literal["evaluation", "training", "calibration"] = Field(
        "evaluation",
        description="evaluation: the text is cut into the splits calibration, tuning and test; training or "
        "calibration: all of it is that one split",
    )

    @property
    def splits(self) -> tuple[str, ...]:
        """The names of the splits of the corpus."""
        if isinstance(self.source, GeneratedSource | PairsSource):
            return ("calibration",)
        if isinstance(self.source, HubCorpusSource):
            return tuple(self.source.files)
        return ("calibration", "tuning", "test") if self.use == "evaluation" else (self.use,)

    @model_validator(mode="after")
    def _keys_go_with_the_source(self) -> "CorpusEntry":
        pairs = isinstance(self.source, PairsSource)
        if pairs and (extra := self.model_fields_set - {"title", "source"}):
            raise ValueError(f"{min(extra)!r} is for text, not for pairs of images and text: leave it out")
        generated = pairs or isinstance(self.source, GeneratedSource)
        if generated and (extra := self.model_fields_set - {"title", "source", "calibration_bos"}):
            raise ValueError(f"{min(extra)!r} is for text that is fetched, not for a generated one: leave it out")
        if not generated and self.documents is None:
            raise ValueError("'documents' is missing: it says how a file is cut into documents")
        if generated and self.calibration_bos is True:
            raise ValueError("'calibration_bos': there is no stream to put a token in front of; write window or auto")
        hub = isinstance(self.source, HubCorpusSource)
        if hub and (self.use != "evaluation" or self.documents not in ("parquet", "jsonl")):
            raise ValueError("'documents' of a hub source must be parquet or jsonl, and 'use' evaluation")
        if self.column is not None and self.documents not in ("auto", "jsonl", "parquet"):
            raise ValueError("'column' is for documents in jsonl or parquet (or auto): other files have no columns")
        for key in ("join", "test_documents"):
            if not hub and getattr(self, key) is not None:
                raise ValueError(f"{key!r} is for a hub source, which has splits of its own: leave it out")
        if self.calibration == "documents" and self.calibration_bos is True:
            raise ValueError("'calibration_bos': there is no stream to put a token in front of; write window or auto")
        return self


class PluginEntry(Entry):
    """A named instance of a plug-in: a preset and changes of single parameters."""

    preset: Slug = "paper"
    params: dict[str, Any] = Field(default_factory=dict)
    title: Line | None = Field(None, description="label of rows in tables; default: the title of the plug-in")


class MethodEntry(PluginEntry):
    """A named pruning method."""

    method: Slug
    compute: Compute | None = Field(None, description="compute settings in place of the config's, for ablations")


class AllocatorEntry(PluginEntry):
    """A named allocator."""

    allocator: Slug
    layers: Literal["all", "first_half"] = Field(
        "all",
        description="first_half: only the first L/2 (rounded down) of L blocks are pruned, each at the full sparsity",
    )


class SuiteEntry(Entry):
    """A named evaluation: a suite plug-in, whose parameters are the whole protocol."""

    suite: Slug
    title: Line | None = None
    params: dict[str, Any] = Field(default_factory=dict)
    compute: Compute | None = Field(None, description="compute settings in place of the config's")


class SearchEntry(Entry):
    """A named search for an allocation. Its result can serve other models, methods and sparsities."""

    title: Line | None = Field(None, description="label in figures; default: the name of the entry")
    model: Slug
    calibration: Calibration = Field(description="the tokens from which the statistics of the dense model come")
    calibration_seed: Seed = 0
    sparsity: Sparsity
    space: Literal["functions", "slopes"] = Field(
        "functions", description="functions: candidates are functions of allocator dsa; slopes: slopes of allocator atp"
    )
    strategy: Literal["evolution", "random", "grid"] = Field(
        "evolution", description="grid: every candidate is tried once (only for slopes)"
    )
    evaluations: PositiveInt = Field(100, description="how often the model may run for each seed")
    seeds: list[Seed] = Field(
        [0], min_length=1, description="one job runs for each seed; the best result of all seeds counts"
    )
    corpus: Slug = Field("c4_type", description="the corpus on whose tuning split candidates are judged")
    windows: PositiveInt = Field(8, description="number of windows of that split")
    seqlen: int = Field(512, ge=2, description="tokens per window")
    population: PositiveInt = Field(20, description="evolution: how many candidates survive")
    sample_ratio: float = Field(
        0.9, gt=0, le=1, description="evolution: the fraction of the population that is looked at in a round"
    )
    parents: PositiveInt = Field(5, description="evolution: how many candidates of that fraction may have children")
    compute: Compute | None = Field(None, description="compute settings in place of the config's")

    @model_validator(mode="after")
    def _can_be_tried(self) -> "SearchEntry":
        if self.strategy == "grid" and self.space != "slopes":
            raise ValueError("'strategy': grid is for slopes, as there are too many functions")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("'seeds': a seed stands there twice")
        return self
