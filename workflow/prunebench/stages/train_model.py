"""Stage train_model: train a tokenizer and a model of OPT's architecture on text, from random weights."""

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import OPTConfig, OPTForCausalLM, PreTrainedTokenizerFast

from prunebench.assets.corpora import SPLITS, load_split
from prunebench.assets.manifest import describe_files, verified
from prunebench.assets.tokens import cut_windows, token_stream
from prunebench.config.entries import ModelEntry, Shape
from prunebench.config.sources import TrainedSource
from prunebench.engine.placement.device import best_device
from prunebench.engine.placement.memory import keep_freed_pages
from prunebench.errors import PrunebenchError
from prunebench.plan.jobs.train import TrainModelSpec
from prunebench.stages.outcome import Outcome
from prunebench.storage.resume import claim
from prunebench.training.loop import Training
from prunebench.training.scores import Scorer
from prunebench.training.text import Texts, divide
from prunebench.training.tokenizer import train_tokenizer

log = logging.getLogger("prunebench")


def train_model(spec: str, corpora: Sequence[Path], *, training: Path, measured: Path) -> str:
    """Train a model as `spec` says on `corpora` (asset.json paths, in its order); returns a one-line summary.

    Writes a `from_pretrained` directory (`training` without its suffix), `measured` (time, memory, host) and last
    `training` (JSON: loss curve, bits per byte). On the CPU all files except `measured` have the same bits for the same
    spec; on a GPU two runs differ in the order of their sums.
    """
    settings, outcome = TrainModelSpec.model_validate_json(spec), Outcome(spec)
    keep_freed_pages()
    arrived = {
        name: verified(path, made_from)
        for (name, made_from), path in zip(settings.corpora.items(), corpora, strict=True)
    }
    directories = {name: manifest.directory for name, manifest in arrived.items()}
    outcome.inputs |= {name: manifest.digest for name, manifest in arrived.items()}
    # The scratch folder is beside the outputs and not one of them: Snakemake deletes outputs when a job fails.
    scratch = training.with_name(f".{training.stem}.parts")
    claim(scratch, outcome.identity)
    trained, resumed_at = _train(settings.entry, directories, scratch, training)
    outcome.record |= trained
    written = describe_files(sorted(training.with_suffix("").iterdir()))
    outcome.record["files"] = {name: file.sha256 for name, file in written.items()}
    outcome.write(training, measured, resumed_at=resumed_at)
    shutil.rmtree(scratch)
    scores = trained["scores"]["held_out"]["bits_per_byte"]
    return "bits per byte: " + ", ".join(f"{name} {value:.3f}" for name, value in scores.items())


def _train(
    entry: ModelEntry, directories: dict[str, Path], scratch: Path, training: Path
) -> tuple[dict[str, Any], int]:
    """Train the model and write it beside `training`; returns its record, and the step at which this run began."""
    source, shape = entry.source, entry.shape
    assert isinstance(source, TrainedSource) and shape
    texts = _texts(source, directories)
    documents = {"training": len(texts.training), "held_out": len(texts.held_out), "left_out": texts.left_out}
    log.info("%(training)d documents to train on, %(held_out)d held out, %(left_out)d left out", documents)
    tokenizer = train_tokenizer(texts.training, shape.vocabulary)
    stream = token_stream(tokenizer, texts.training, bos=False)
    model = _new_model(source, shape, tokenizer)
    model.to(best_device())  # type: ignore[arg-type]
    run = Training(model, source, scratch / "state.pt")
    resumed_at = run.step
    if resumed_at:
        log.info("resuming at step %d", resumed_at)
    unseen = {"held_out": texts.held_out, **{name: load_split(directories[name], "tuning") for name in source.unseen}}
    windows = {name: _windows(tokenizer, documents, source.context, name) for name, documents in unseen.items()}
    run.run(torch.from_numpy(_cut(stream, source.context, "training")), torch.from_numpy(windows["held_out"]))
    # The model is scored with its weights rounded as they are stored.
    model.to(getattr(torch, entry.dtype)).save_pretrained(training.with_suffix(""))
    tokenizer.save_pretrained(training.with_suffix(""))
    scorer = Scorer(model.float(), tokenizer, stream, getattr(torch, source.compute.dtype))
    outcome = {
        "documents": documents,
        "parameters": model.num_parameters(),
        "tokens": {"text": len(stream), "seen": source.steps * source.compute.batch_size * source.context},
        "curve": run.curve,
        "scores": {name: scorer.score(part) for name, part in windows.items()},
    }
    return outcome, resumed_at


def _texts(source: TrainedSource, directories: dict[str, Path]) -> Texts:
    documents = [document for name in source.corpora for document in load_split(directories[name], "training")]
    unseen = (text for name in source.unseen for split in SPLITS for text in load_split(directories[name], split))
    return divide(documents, unseen, source.seed)


def _new_model(source: TrainedSource, shape: Shape, tokenizer: PreTrainedTokenizerFast) -> OPTForCausalLM:
    torch.manual_seed(source.seed)
    config = OPTConfig(
        vocab_size=shape.vocabulary,
        hidden_size=shape.hidden,
        word_embed_proj_dim=shape.hidden,
        ffn_dim=shape.ffn,
        num_hidden_layers=shape.blocks,
        num_attention_heads=source.heads,
        max_position_embeddings=source.context,
        # Dropout is not needed: hardly any text is seen twice.
        dropout=0.0,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
    )
    return OPTForCausalLM(config)


def _windows(tokenizer: PreTrainedTokenizerFast, documents: list[str], context: int, what: str) -> NDArray[np.int64]:
    return _cut(token_stream(tokenizer, documents, bos=False), context, what)


def _cut(stream: NDArray[np.int64], context: int, what: str) -> NDArray[np.int64]:
    windows = cut_windows(stream, context)
    if not len(windows):
        raise PrunebenchError(
            f"the text '{what}' has {len(stream)} tokens, which fill no window of {context}: lower 'context' of the "
            "model's source, or name more corpora"
        )
    return windows
