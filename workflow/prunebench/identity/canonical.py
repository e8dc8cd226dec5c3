"""The canonical JSON of values, so that equal specs are equal strings, and their hashes."""

import hashlib
import json
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and one text per number (0.50 and 0.5 are equal). Raises ValueError for NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def spec_hash(spec: str) -> str:
    """The short digest of a spec that downstream specs and result files cite: 16 hexadecimal digits."""
    return hashlib.sha256(spec.encode()).hexdigest()[:16]
