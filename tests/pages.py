"""The data that a report embeds for its script."""

import base64
import gzip
import json
import re
from typing import Any


def embedded(page: str) -> dict[str, Any]:
    """The table, the plots, and under `cells` the details of each cell by its id, from the HTML of a report."""
    parts = dict(re.findall(r'<script type="application/gzip" id="(data|details)">(.*?)</script>', page, re.DOTALL))
    data, details = (json.loads(gzip.decompress(base64.b64decode(parts[name]))) for name in ("data", "details"))
    return {**data, "cells": details}
