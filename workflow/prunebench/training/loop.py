"""The training loop. Its result depends on its arguments alone, also after it was killed and started again."""

import logging
import math
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim import AdamW, Muon, Optimizer
from transformers import PreTrainedModel

from prunebench.config.sources import TrainedSource
from prunebench.errors import PrunebenchError
from prunebench.runtime.progress import track
from prunebench.storage.files import atomic_path
from prunebench.storage.sealed import is_marked, mark

log = logging.getLogger("prunebench")

POINTS = 40
"""The number of points of the loss curve; the state is written at each point."""
WARM_UP = 0.05
"""The fraction of the steps in which the learning rate rises."""
CLIP = 1.0
"""The greatest norm of gradients."""
WEIGHT_DECAY = 0.1
VALIDATION = 16
"""The number of held-out windows for the loss curve."""


class Training:
    """A model in training: its weights, the state of the optimisers, and the loss curve so far."""

    def __init__(self, model: PreTrainedModel, source: TrainedSource, checkpoint: Path) -> None:
        """Start from the state in the file `checkpoint`, or from the beginning if there is none, or a damaged one."""
        self._model, self._source, self._checkpoint = model, source, checkpoint
        self.step = 0
        self.curve: list[dict[str, float]] = []
        self._optimisers = optimisers(model, source.learning_rate)
        if is_marked(checkpoint):
            self._resume()
        elif checkpoint.exists():
            log.warning("%s is damaged: the training begins again", checkpoint)

    def run(self, windows: Tensor, held_out: Tensor) -> None:
        """Train to the last step on `windows` (token ids [n, context]); write the state at every point of the curve."""
        order = torch.cat(list(self._order(len(windows))))
        ends = sorted({round(self._source.steps * point / POINTS) for point in range(1, POINTS + 1)} - {0})
        for end in track([end for end in ends if end > self.step], "point"):
            losses = []
            for step in range(self.step, end):
                first = step * self._source.compute.batch_size
                batch = windows[order[first : first + self._source.compute.batch_size]]
                losses.append(self._update(batch, self._source.learning_rate * rate(step, self._source.steps)))
            self.step = end
            self._note(sum(losses) / len(losses), self._validate(held_out[:VALIDATION]))

    def _update(self, batch: Tensor, learning_rate: float) -> float:
        loss = self._losses(batch).mean()
        loss.backward()
        nn.utils.clip_grad_norm_(self._model.parameters(), CLIP)
        for optimiser in self._optimisers:
            for group in optimiser.param_groups:
                group["lr"] = learning_rate
            optimiser.step()
            optimiser.zero_grad()
        return loss.item()

    @torch.no_grad()
    def _validate(self, windows: Tensor) -> float:
        return self._losses(windows).mean().item()

    def _losses(self, windows: Tensor) -> Tensor:
        return token_losses(self._model, windows, getattr(torch, self._source.compute.dtype))

    def _order(self, windows: int) -> Iterator[Tensor]:
        """Random orders of the windows, one for each pass over them."""
        generator = torch.Generator().manual_seed(self._source.seed)
        for _ in range(math.ceil(self._source.steps * self._source.compute.batch_size / windows)):
            yield torch.randperm(windows, generator=generator)

    def _note(self, training_loss: float, held_out_loss: float) -> None:
        """Add a point to the curve and write the state. Raises PrunebenchError if the loss is not finite."""
        if not math.isfinite(training_loss):
            raise PrunebenchError(f"the loss is {training_loss} at step {self.step}: lower 'learning_rate'")
        self.curve.append({"step": self.step, "training_loss": training_loss, "held_out_loss": held_out_loss})
        state = {
            "model": self._model.state_dict(),
            "optimisers": [optimiser.state_dict() for optimiser in self._optimisers],
            "step": self.step,
            "curve": self.curve,
        }
        with atomic_path(self._checkpoint) as temporary:
            torch.save(state, temporary)
        mark(self._checkpoint)

    def _resume(self) -> None:
        state = torch.load(self._checkpoint, map_location=self._model.device, weights_only=True)
        self._model.load_state_dict(state["model"])
        for optimiser, kept in zip(self._optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(kept)
        self.step, self.curve = state["step"], state["curve"]


def optimisers(model: PreTrainedModel, learning_rate: float) -> list[Optimizer]:
    """Muon for the matrices of the blocks, which needs fewer tokens than AdamW here; AdamW for the rest."""
    linears = [module for name, module in model.named_modules() if isinstance(module, nn.Linear) and name != "lm_head"]
    matrices = [linear.weight for linear in linears]
    known = {id(matrix) for matrix in matrices}
    rest = [weight for weight in model.parameters() if id(weight) not in known]
    return [
        Muon(matrices, lr=learning_rate, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        AdamW(rest, lr=learning_rate, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]


def token_losses(model: PreTrainedModel, windows: Tensor, dtype: torch.dtype) -> Tensor:
    """-ln p, [n, context - 1], of all tokens of `windows` [n, context] but the first; products are in `dtype`."""
    windows = windows.to(model.device)
    with torch.autocast(windows.device.type, dtype, enabled=dtype != torch.float32):
        logits = model(input_ids=windows, use_cache=False).logits
    targets = windows[:, 1:]
    losses = functional.cross_entropy(logits[:, :-1].flatten(0, 1).float(), targets.flatten(), reduction="none")
    return losses.view(targets.shape)


def rate(step: int, steps: int) -> float:
    """The learning rate of a step as a fraction of the highest one: a linear rise, then a cosine down to 0."""
    warm_up = max(1, round(WARM_UP * steps))
    if step < warm_up:
        return (step + 1) / warm_up
    return 0.5 * (1 + math.cos(math.pi * (step - warm_up) / max(1, steps - warm_up)))
