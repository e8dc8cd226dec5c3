"""One text per value, so that equal specs are equal strings."""

import hashlib
import json
from typing import Any


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and one text per number (0.50 and 0.5 give the same). Refuses NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)


def spec_hash(spec: str) -> str:
    """Short digest of a spec: what downstream specs and result files cite."""
    return hashlib.sha256(spec.encode()).hexdigest()[:16]
