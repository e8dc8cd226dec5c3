"""The values that many keys of a config have: names, texts, numbers, and their bounds."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from prunebench.names import LONGEST_SLUG, SLUG, aperiodic, inner_path, one_line, plain_name
from prunebench.patterns import sparsity_text
from prunebench.plugin import Closed

Slug = Annotated[str, Field(pattern=SLUG, max_length=LONGEST_SLUG), AfterValidator(aperiodic)]
SHA256 = r"^[0-9a-f]{64}$"
REPO = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)?$"
REVISION = r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(?:/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$"
PACKAGE = r"^[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?$"
VERSION = r"^[A-Za-z0-9][A-Za-z0-9._+!-]*$"
TASK = r"^[A-Za-z0-9_][A-Za-z0-9_-]*$"
CALIBRATION = f"{SLUG.removesuffix('$')}_[1-9][0-9]{{0,8}}x(?:[2-9]|[1-9][0-9]{{1,8}})$"
LARGEST_SEED = 2**32 - 1
"""The greatest seed that all random generators take."""
MOST_THREADS = 1024
MOST_WINDOWS = 65536
"""The greatest number of windows in a batch."""
LARGEST_COUNT = 10**9 - 1
"""The greatest number of windows, of tokens in a window, and of whatever else a user counts."""
Line = Annotated[str, AfterValidator(one_line)]
"""A text for people to read, on one line."""
FileName = Annotated[str, AfterValidator(plain_name)]
InnerPath = Annotated[str, AfterValidator(inner_path)]
Seed = Annotated[int, Field(ge=0, le=LARGEST_SEED)]
Sha256 = Annotated[str, Field(pattern=SHA256)]
DType = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[DType, tuple[str, ...]] = {
    "float32": ("fp32", "f32", "float", "single"),
    "bfloat16": ("bf16",),
    "float16": ("fp16", "f16", "half"),
}
"""The dtypes of forward passes, each with its usual short forms."""
STORED: Literal["stored"] = "stored"
"""The `dtype` of a model each of whose weights keeps the dtype that it has in the model's files."""
Bos = bool | Literal["window", "auto"]
"""The places of beginning-of-text tokens. False: nowhere. True: once, in front of the stream. "window": in front of
each window. "auto": in front of each window if the tokenizer puts one in front of a text by itself."""
DocumentKind = Literal["auto", "whole", "lines", "blank_lines", "wikiextractor", "jsonl", "parquet"]
"""The ways in which a file of text is cut into documents."""
Members = Annotated[list[InnerPath], Field(min_length=1)] | Annotated[dict[FileName, InnerPath], Field(min_length=1)]
Calibration = Annotated[str, Field(pattern=CALIBRATION), AfterValidator(aperiodic)]
Sparsity = Annotated[
    str,
    BeforeValidator(sparsity_text, json_schema_input_type=float | str),
    Field(json_schema_extra={"examples": [0.5, 0.7]}),
]
TaskName = Annotated[str, Field(pattern=TASK, max_length=LONGEST_SLUG)]


def is_none(value: object) -> bool:
    """Whether `value` is None. As `exclude_if`, this leaves a key without a value out of specs."""
    return value is None


def dtype_named(text: str) -> DType | None:
    """The dtype of forward passes that `text` names: a name of torch or a usual short form. None if it is neither."""
    name = text.lower().removeprefix("torch.")
    return next((dtype for dtype, short in DTYPES.items() if name in (dtype, *short)), None)


class Entry(Closed):
    """Base of every config model."""


class Compute(Entry):
    """The compute settings of a stage. All three move numbers (by percents at high sparsity), so the spec has them."""

    dtype: DType = Field("bfloat16", description="dtype of the forward passes; statistics are summed in float64")
    batch_size: int = Field(8, gt=0, le=MOST_WINDOWS, description="windows per forward pass")
    threads: int = Field(
        1, gt=0, le=MOST_THREADS, description="CPU threads of a job; give Snakemake at least as many --cores"
    )
