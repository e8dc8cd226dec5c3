"""Rows with images as the hub has them: VQAv2, ScienceQA and TextVQA of lmms-lab, with all their columns."""

import io
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from pyarrow import parquet

import tiny_vision
from hub_server import HubServer
from prunebench.config.sources import HubSource
from prunebench.config.tasks import TasksEntry

PEOPLE = [*["red"] * 7, *["dark red"] * 3]

_IMAGE = pa.struct({"bytes": pa.binary(), "path": pa.string()})
_TEXTS = pa.list_(pa.string())
SCHEMAS = {
    "vqav2": {
        "question_type": pa.string(),
        "multiple_choice_answer": pa.string(),
        "answers": pa.list_(
            pa.struct({"answer": pa.string(), "answer_confidence": pa.string(), "answer_id": pa.int64()})
        ),
        "image_id": pa.int64(),
        "answer_type": pa.string(),
        "question_id": pa.int64(),
        "question": pa.string(),
        "image": _IMAGE,
    },
    "scienceqa": {
        "image": _IMAGE,
        "question": pa.string(),
        "choices": _TEXTS,
        "answer": pa.int8(),
        **dict.fromkeys(("hint", "task", "grade", "subject", "topic", "category", "skill"), pa.string()),
        **dict.fromkeys(("lecture", "solution"), pa.string()),
    },
    "textvqa": {
        "image_id": pa.string(),
        "question_id": pa.int32(),
        "question": pa.string(),
        "question_tokens": _TEXTS,
        "image": _IMAGE,
        "image_width": pa.int32(),
        "image_height": pa.int32(),
        "flickr_original_url": pa.string(),
        "flickr_300k_url": pa.string(),
        "answers": _TEXTS,
        "image_classes": _TEXTS,
        "set_name": pa.string(),
        "ocr_name": pa.string(),
        "ocr_tokens": _TEXTS,
    },
}
"""The columns of each data set; those that a row lacks are null."""


def png(width: int, height: int, seed: int = 0) -> bytes:
    buffer = io.BytesIO()
    tiny_vision.make_image(width, height, seed).save(buffer, "PNG")
    return buffer.getvalue()


def _image(seed: int) -> dict[str, Any]:
    return {"bytes": png(20 + seed, 13, seed), "path": f"{seed}.png"}


def vqav2(index: int) -> dict[str, Any]:
    """Questions about one image."""
    people = [{"answer": answer, "answer_confidence": "yes", "answer_id": place} for place, answer in enumerate(PEOPLE)]
    question = {"question_id": index, "question": f"what {index}?", "answer_type": "other", "image_id": 7}
    return {**question, "answers": people, "image": _image(7), "multiple_choice_answer": "red"}


def rows(task: str) -> list[dict[str, Any]]:
    """A few rows of a data set; one of ScienceQA has no image."""
    science = {"subject": "natural science", "lecture": "A lecture.", "solution": "A solution."}
    return {
        "vqav2": [vqav2(0), vqav2(1)],
        "textvqa": [
            {
                "question": "what brand?",
                "answers": ["dakota"] * 10,
                "ocr_tokens": ["DAKOTA", "DIGITAL"],
                "image": _image(8),
                "set_name": "val",
            }
        ],
        "scienceqa": [
            {"question": "Which?", "choices": ["a whale", "a bird"], "answer": 1, "hint": "", "image": _image(9)}
            | science,
            {"question": "No image", "choices": ["x", "y"], "answer": 0, "hint": "h", "image": None} | science,
        ],
    }[task]


def file_of(task: str, content: list[dict[str, Any]]) -> bytes:
    """A parquet file of rows of a data set."""
    buffer = io.BytesIO()
    parquet.write_table(pa.Table.from_pylist(content, schema=pa.schema(SCHEMAS[task])), buffer)
    return buffer.getvalue()


def _part(task: str, number: int, count: int) -> list[dict[str, Any]]:
    """All rows of a data set in one file; or one row, whose question ends in the number of the part."""
    if count == 1:
        return rows(task)
    first = rows(task)[0]
    return [{**first, "question": f"{first['question']} {number}"}]


def add_pictures(hub: HubServer, entries: Mapping[str, TasksEntry]) -> None:
    """Add the repositories of `entries` that have images: each file, or each part of a file, has its own rows."""
    for entry in entries.values():
        if isinstance(entry.source, HubSource) and all(data.images for data in entry.tasks.values()):
            files = {
                path: file_of(data.images, _part(data.images, number, len(paths)))
                for data in entry.tasks.values()
                if data.images is not None
                for paths in data.files.values()
                for number, path in enumerate(paths)
            }
            known = hub.repositories.get(("datasets", entry.source.repo))
            files |= known.commits.get(entry.source.revision, {}) if known else {}
            hub.add("datasets", entry.source.repo, files, entry.source.revision)
