"""Builds the model that training starts from, for an agreement that is yet to be proposed.

The operator's machine needs no PyTorch, and this can run on any that has it: it reads only the
terms that decide the model, and leaves two files that the operator's side checks. Imports torch.
"""

import os
from pathlib import Path

import numpy as np
from pydantic import BaseModel, ConfigDict

from comity_client.model.base import base_digest, base_path
from comity_client.model.build import build
from comity_common.agreement import ModelOptimizer
from comity_common.errors import LocalError, Problem
from comity_common.modelfile import write_state
from comity_common.optimizer import ModelState, state_digest
from comity_host import settings
from comity_host.files import write_durably
from comity_host.modelterms import (
    RECORD_FILE,
    STATE_FILE,
    ModelStart,
    ModelTerms,
    TaskTerms,
    decisive,
)
from comity_host.settings import Settings


class _Movement(BaseModel):
    """What is read of [aggregation]."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    optimizer: ModelOptimizer = ModelOptimizer.FEDAVG


class _StartTerms(Settings):
    """What is read of a terms file; the rest is the operator's side's to check."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    task: TaskTerms
    model: ModelTerms = ModelTerms()
    aggregation: _Movement = _Movement()


def build_start(terms_file: Path) -> tuple[ModelStart, ModelState]:
    """Build the first model state that a terms file describes.

    Raises:
        Problem: the terms have a wrong key, or the base is no complete BERT that fits them.
    """
    terms = settings.load(terms_file, _StartTerms)
    model, optimizer = terms.model, terms.aggregation.optimizer
    seed = os.urandom(32) if model.seed is None else bytes.fromhex(model.seed)
    try:
        base = base_path(model.name)
        digest = base_digest(base)
        parameters = build(
            base,
            terms.task.task(),
            pooling=model.pooling,
            tune=model.tune,
            lora_rank=model.lora_rank,
            lora_alpha=model.lora_alpha,
            seed=seed,
        ).initial_vector()
    except LocalError as error:
        raise Problem("COM-MODEL-001", model=model.name, why=error) from None
    momentum = np.zeros_like(parameters) if optimizer is ModelOptimizer.FEDAVGM else None
    state = ModelState(parameters=parameters, momentum=momentum, round=0)
    record = ModelStart.model_validate(
        {
            **decisive(terms.task, model, optimizer),
            "seed": seed.hex(),
            "base": digest,
            "parameters": parameters.size,
            "initial_state": state_digest(state),
        }
    )
    return record, state


def write_start(directory: Path, record: ModelStart, state: ModelState) -> None:
    """Write both files, the state before the record that names it."""
    directory.mkdir(parents=True, exist_ok=True)
    write_durably(directory / STATE_FILE, write_state(state))
    write_durably(directory / RECORD_FILE, record.model_dump_json(indent=2).encode() + b"\n")
