"""A small valid config for tests that need no pipeline, and changes of it."""

from copy import deepcopy
from typing import Any

REMOVED = object()

SHAPE = {"blocks": 2, "hidden": 32, "ffn": 48, "attention": 32, "vocabulary": 160}
PACKAGE = {
    "kind": "package",
    "package": "some-model",
    "version": "1.0",
    "file": "some_model-1.0-py3-none-any.whl",
    "sha256": "0" * 64,
    "members": ["some_model/model.safetensors"],
}
STUDY: dict[str, Any] = {
    "studies": {
        "tiny": {
            "suites": ["ppl_tiny"],
            "defaults": {"model": "tiny", "calibration": "text_4x16"},
            "grid": [{"method": "dense"}, {"method": ["magnitude", "wanda"], "sparsity": [0.5, 0.7]}],
        }
    },
    "compute": {"dtype": "bfloat16", "batch_size": 2, "threads": 1},
    "models": {"tiny": {"title": "Tiny", "family": "llama", "source": PACKAGE, "shape": SHAPE}},
    "corpora": {"text": {"title": "Text", "source": dict(PACKAGE), "documents": "lines"}},
    "methods": {"wanda_down": {"method": "wanda", "params": {"rounding": "down"}}},
    "tasks": {
        "few": {
            "title": "Few",
            "source": {key: value for key, value in PACKAGE.items() if key != "members"},
            "tasks": {"rte": {"stock": "glue/rte/default.yaml", "rows": {"validation": "rte.jsonl"}}},
        }
    },
    "suites": {
        "ppl_tiny": {"suite": "perplexity", "params": {"corpora": ["text"], "seqlen": 16, "windows": 4}},
        "few_tiny": {"suite": "lm_eval", "params": {"data": "few", "tasks": ["rte"]}},
    },
}
"""The config; tests change copies of it."""


def changed(path: str, value: Any, config: dict[str, Any] = STUDY) -> dict[str, Any]:
    """A copy of `config` with `value` at a dotted path such as studies.tiny.grid.0.method; REMOVED takes it away."""
    copy = deepcopy(config)
    *parents, last = (int(part) if part.isdigit() else part for part in path.split("."))
    node: Any = copy
    for part in parents:
        node = node.setdefault(part, {}) if isinstance(node, dict) else node[part]
    if value is REMOVED:
        del node[last]
    else:
        node[last] = value
    return copy


def grid(*rows: dict[str, Any], **study: Any) -> dict[str, Any]:
    """The config with these rows as its grid, and other keys of the study changed."""
    copy = changed("studies.tiny.grid", list(rows))
    copy["studies"]["tiny"] |= study
    return copy
