"""The batches of a training: the part of each iteration's images that a process has in a micro-batch."""

from __future__ import annotations

import torch
from accelerate import Accelerator

from bench.core.errors import UserError
from bench.task.base import PreparedTask
from bench.training.distiller import Batch, MicroBatch
from bench.training.recipe import Recipe
from bench.training.step_rng import StepRNG, data_order


class Batches:
    """The batches of one process."""

    def __init__(self, prepared: PreparedTask, recipe: Recipe, seed: int, accelerator: Accelerator) -> None:
        """Raises UserError if a batch does not divide among all processes and micro-batches."""
        self.prepared = prepared
        self.batch_size = recipe.batch_size
        self.seed = seed
        self.accelerator = accelerator
        shares = accelerator.num_processes * recipe.gradient_accumulation
        if recipe.batch_size % shares:
            whole = max(1, recipe.batch_size // shares)
            raise UserError(
                f"batch_size {recipe.batch_size} does not divide into {shares} equal shares "
                f"({accelerator.num_processes} processes, {recipe.gradient_accumulation} micro-batches); "
                f"fix: --set batch_size={whole * shares} or {(whole + 1) * shares}"
            )

    def batch(self, iteration: int, micro_batch: MicroBatch) -> Batch:
        """Make a batch with its random numbers, conditions and real images.

        An iteration's batch is cut into shares, one for each process and micro-batch. The images do not depend on
        the number of shares.
        """
        device = self.accelerator.device
        shares = self.accelerator.num_processes * micro_batch.count
        share = self.accelerator.process_index * micro_batch.count + micro_batch.index
        count = self.batch_size // shares
        # A plug-in may use the global generator, so this one too depends only on (seed, iteration, share).
        torch.manual_seed(hash((self.seed, iteration, share)) % 2**63)
        rng = StepRNG(self.seed, iteration, device, share, shares)
        first = iteration * self.batch_size + share * count
        order = data_order(self.prepared.real_count, self.seed, first, count)
        real, real_condition = self.prepared.real_batch(torch.from_numpy(order), device)
        positions = rng.positions(self.prepared.training_conditions, count)
        return Batch(
            iteration=iteration,
            rng=rng,
            condition=self.prepared.training_condition_on(positions, device),
            real=real,
            real_condition=real_condition,
        )
