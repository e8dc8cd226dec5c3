"""The tensors that `from_pretrained` loads from a model directory, and their places in files. This imports no torch.

Only file headers are read. A model that cannot be read, or would be read wrongly, is refused in one line before any
work.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from prunebench.errors import PrunebenchError
from prunebench.models.base import Family
from prunebench.models.configs import check_family, has_experts, readers, text_of
from prunebench.names import is_plain_name
from prunebench.storage.advice import RESAVE, damage, instead, mind_adapters, without_config
from prunebench.storage.checkpoints import facts
from prunebench.storage.files import AGAIN, read_object
from prunebench.storage.packed import MASK, PACKED, SCALES, VALUES
from prunebench.storage.quantised import quantised, refuse_quantised, scheme_of

CONFIG, SINGLE, INDEX = "config.json", "model.safetensors", "model.safetensors.index.json"
"""The names of a model's configuration, of a single file of weights, and of the list of several files."""
PACKED_FORMAT = "prunebench packed 1"
"""The fact `format` in the header of such a file; docs/deploy.md has its layout."""
TEMPLATES = "additional_chat_templates"
"""The directory of a model's chat templates beside the usual one."""
WEIGHT_SUFFIXES = frozenset((".safetensors", ".bin", ".pt", ".pth", ".h5", ".msgpack", ".onnx", ".gguf", ".ckpt"))
"""The suffixes of files that hold weights in any format."""
FLOATS = {"F64": "float64", "F32": "float32", "F16": "float16", "BF16": "bfloat16"}
"""The dtypes of weights that can be pruned: name in safetensors -> name in torch."""
_ADAPTER = "adapter_config.json"


@dataclass(frozen=True)
class Place:
    """A tensor: the file that holds it, its name in that file, its dtype (safetensors' name), and its shape."""

    file: Path
    stored: str
    dtype: str
    shape: tuple[int, ...]
    packed: bool = False
    """Whether the file holds the bitmask and the kept values of the tensor in its place."""
    group: int | None = None
    """The number of columns of a packed tensor with 8-bit values that share a scale."""


@dataclass(frozen=True)
class Layout:
    """The tensors of a model directory."""

    directory: Path
    config: dict[str, Any]
    """The content of config.json."""
    family: type[Family]
    files: tuple[Path, ...]
    """The files from which `from_pretrained` loads weights, sorted by name."""
    places: dict[str, Place]
    """Every tensor in `files`, by full name in the model."""

    @property
    def shards(self) -> dict[str, list[str]]:
        """The full names of the tensors of each file of a dense copy; a packed file tells what files there were."""
        if [file.name for file in self.files] == [PACKED]:
            files: dict[str, str] = facts(self.files[0]).get("shards", {})
            where = {name: files.get(place.stored, SINGLE) for name, place in self.places.items()}
        else:
            single = len(self.files) == 1
            where = {name: SINGLE if single else place.file.name for name, place in self.places.items()}
        return {shard: [name for name in where if where[name] == shard] for shard in sorted(set(where.values()))}

    def is_matrix(self, name: str) -> bool:
        """Whether the tensor with the full name `name` is the weight of a linear (or of several) in a block."""
        return _is_matrix(name, self.family)

    @cached_property
    def dtype(self) -> str:
        """The dtype (torch's name) of most weights of the blocks' linears."""
        counts: Counter[str] = Counter()
        for name, place in self.places.items():
            if _is_matrix(name, self.family) and place.dtype in FLOATS:
                counts[FLOATS[place.dtype]] += prod(place.shape)
        return counts.most_common(1)[0][0]


def read_layout(directory: Path) -> Layout:
    """Read the layout of a `from_pretrained` directory.

    Raises PrunebenchError if it holds no model of a known architecture, if the model is quantised, or if a file is
    missing or damaged.
    """
    config = read_config(directory)
    family = family_of(directory, config)
    refuse_quantised(directory, config)
    files = weight_files(directory, config)
    mind_adapters(directory)
    by_name: dict[str, Place] = {}
    for file in files:
        for place in places(file):
            name = full_name(place.stored, family)
            # If two shards hold the same name, transformers takes the tensor of the later shard.
            if name in by_name and by_name[name].stored != place.stored:
                raise PrunebenchError(
                    f"{directory} holds {name} twice: as {by_name[name].stored} in {by_name[name].file.name} and as "
                    f"{place.stored} in {file.name}. Leave one of them out, or {RESAVE}"
                )
            by_name[name] = place
    _refuse_no_matrices(directory, family, by_name)
    return Layout(directory, config, family, files, by_name)


def is_packed(directory: Path) -> bool:
    """Whether the weights of the model directory are those of a packed file."""
    return [file.name for file in read_layout(directory).files] == [PACKED]


def read_config(directory: Path) -> dict[str, Any]:
    """The content of config.json in a model directory. Raises PrunebenchError if it is missing or damaged."""
    path = directory / CONFIG
    if not path.is_file():
        raise PrunebenchError(f"{directory} has no {CONFIG}: {without_config(directory)}")
    return read_object(path)


def check_config(file: Path, model: str, family: str | None = None) -> None:
    """Raise PrunebenchError unless the config.json in `file` describes a model that can be pruned, called `model`.

    The model must be read by `family`, if one is named. This is checked before gigabytes of weights are fetched.
    """
    config = read_object(file)
    if family is not None:
        check_family(config, model, family)
    family_of(model, config)
    refuse_quantised(model, config)


def family_of(model: Path | str, config: dict[str, Any]) -> type[Family]:
    """The family that reads a model with this `config`. PrunebenchError, with all known types, if none does."""
    kind = config.get("model_type")
    if isinstance(kind, str) and kind in readers():
        family = readers()[kind]
        _check_text(model, family, text_of(config))
        return family
    if has_experts(config):
        raise PrunebenchError(f"{model} is a mixture of experts ({kind!r}), which cannot be pruned: name a dense model")
    raise PrunebenchError(
        f"{model} is a model of type {kind!r}, which is not known (known: {', '.join(sorted(readers()))})"
    )


def _check_text(model: Path | str, family: type[Family], text: object) -> None:
    """Raise PrunebenchError unless `family` reads the language model that the `text_config` `text` describes."""
    kind = text.get("model_type") if isinstance(text, dict) else None
    if family.text_types and kind not in family.text_types:
        raise PrunebenchError(
            f"{model} has a language model of type {kind!r}, which family {family.name!r} does not read "
            f"(known: {', '.join(sorted(family.text_types))})"
        )


def weight_files(directory: Path, config: dict[str, Any]) -> tuple[Path, ...]:
    """The files from which `from_pretrained` loads weights, sorted by name: one file, or the shards of an index.

    Raises PrunebenchError, which says what is there instead, if there are none, one is missing, or an index is damaged.
    """
    named = config.get("transformers_weights")
    if named is not None:
        _check_name(named, directory / CONFIG)
        chosen = directory / named
    else:
        names = (SINGLE, INDEX, PACKED)
        chosen = next((directory / name for name in names if (directory / name).is_file()), directory / SINGLE)
    if not chosen.is_file():
        raise PrunebenchError(f"{directory} holds no {chosen.name}: {instead(directory)}")
    if not chosen.name.endswith(".index.json"):
        return (chosen,)
    where = read_object(chosen).get("weight_map")
    if not isinstance(where, dict) or not where:
        raise PrunebenchError(f"{chosen} has no 'weight_map' with files: {AGAIN}, or {RESAVE}")
    for name in where.values():
        _check_name(name, chosen)
    shards = tuple(directory / name for name in sorted(set(where.values())))
    if absent := [shard.name for shard in shards if not shard.is_file()]:
        raise PrunebenchError(
            f"{directory} lacks {absent[0]}, one of {len(shards)} files that {chosen.name} names: is the download "
            "complete?"
        )
    stored = {place.stored for shard in shards for place in places(shard)}
    if lost := sorted(where.keys() - stored):
        raise PrunebenchError(f"{chosen} names the tensor {lost[0]}, which {where[lost[0]]} does not hold: {RESAVE}")
    return shards


def model_files(layout: Layout) -> list[Path]:
    """The files of a model, sorted: the weights that are read, and all files that are no weights."""
    visible = [*layout.directory.iterdir(), *(layout.directory / TEMPLATES).glob("*.jinja")]
    beside = [
        path
        for path in visible
        if path.is_file()
        and not path.name.startswith(".")
        and is_plain_name(path.name)
        and path.suffix not in WEIGHT_SUFFIXES
        and not path.name.endswith(".index.json")
    ]
    index = [layout.directory / INDEX] if len(layout.files) > 1 else []
    return sorted({*layout.files, *beside, *index})


def full_name(stored: str, family: type[Family]) -> str:
    """The full name in the model of the tensor that a file calls `stored`.

    In a model that was saved without its head (`AutoModel`) names lack the first part: layers.0..., decoder....
    In a model that was saved as part of another one it may occur twice: model.model.layers.0, model.lm_head.
    """
    stored = _renamed(stored, family)
    prefix = family.blocks.partition(".")[0]
    first, _, rest = stored.partition(".")
    if first == prefix and rest.partition(".")[0] in (prefix, family.head):
        return rest
    return stored if first in (prefix, family.head) else f"{prefix}.{stored}"


def saved_name(name: str, layout: Layout) -> str:
    """The name in a copy of the model of the tensor with the full name `name`.

    A name that transformers changes as it loads the model is written as it was read.
    """
    stored = layout.places[name].stored
    return stored if _renamed(stored, layout.family) != stored else name


def _renamed(stored: str, family: type[Family]) -> str:
    """The name `stored` after the first entry of `family.renamed` that is the whole name, or its first parts."""
    for old, new in family.renamed.items():
        if stored == old or stored.startswith(f"{old}."):
            return new + stored.removeprefix(old)
    return stored


def places(file: Path) -> Iterator[Place]:
    """The tensors of a safetensors file, from its header. Raises PrunebenchError if the file is damaged."""
    try:
        with safe_open(file, framework="numpy") as handle:
            packed = _packed_places(file, handle)
            parts = {f"{name}{suffix}" for name in packed for suffix in (MASK, VALUES, SCALES)}
            yield from packed.values()
            for name in handle.keys():  # noqa: SIM118 (a handle is no dictionary)
                if name not in parts:
                    part = handle.get_slice(name)
                    yield Place(file, name, part.get_dtype(), tuple(part.get_shape()))
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise PrunebenchError(f"{file} {damage(file, error)}") from None


def _packed_places(file: Path, handle: Any) -> dict[str, Place]:
    """The tensors of the open file `handle` that are packed there, by name.

    Raises PrunebenchError for another format, and ValueError, KeyError or TypeError for a damaged header.
    """
    if file.name != PACKED:
        return {}
    stated = facts(file)
    if stated.get("format") != PACKED_FORMAT or "seal" not in stated:
        raise PrunebenchError(
            f"{file} is of the format {stated.get('format')!r}, not {PACKED_FORMAT!r}: export the model again"
        )
    names = set(handle.keys())
    packed = {}
    for name, entry in stated["tensors"].items():
        (rows, columns), dtype, group = entry["shape"], entry["dtype"], entry["group"]
        needed = {name + MASK, name + VALUES} | ({name + SCALES} if group else set())
        mask = handle.get_slice(name + MASK).get_shape() if needed <= names else None
        if mask != [rows, -(-columns // 8)] or dtype not in FLOATS:
            raise ValueError(f"the parts of {name} do not fit together")
        packed[name] = Place(file, name, dtype, (rows, columns), packed=True, group=group)
    return packed


def _check_name(name: object, where: Path) -> None:
    """Raise PrunebenchError unless `name`, which the file `where` gives, is the plain name of a file beside it."""
    if not is_plain_name(name):
        raise PrunebenchError(f"{where} names the file {name!r}: only files in the model's own directory are read")


def _refuse_no_matrices(directory: Path, family: type[Family], places: dict[str, Place]) -> None:
    """Raise PrunebenchError if tensors are codes of a quantisation, whatever config.json says, or are no matrices."""
    for name, place in places.items():
        if scheme := scheme_of(name):
            raise quantised(directory, f"{scheme}: it holds {name}")
        if _is_matrix(name, family) and place.dtype not in FLOATS:
            raise quantised(directory, f"{name} is stored as {place.dtype}")
        if _is_matrix(name, family) and len(place.shape) != 2:
            raise PrunebenchError(
                f"{directory}: {name} has the shape {list(place.shape)}, but the weight of a linear has rows and "
                "columns: take the file that belongs to the model"
            )


def _is_matrix(name: str, family: type[Family]) -> bool:
    """Whether the tensor `name` is the weight of a linear in a block, or of several linears in one matrix."""
    linear = name.removesuffix(".weight")
    return name.startswith(f"{family.blocks}.") and linear != name and linear.endswith(family.matrices())
