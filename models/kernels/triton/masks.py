"""`allowed` sets of words as bits on the device, without waiting for it.

reads   the ids, 8 bytes each
writes  V / 8 bytes a row: fewer than the row's logits
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from models.kernels.triton.buffers import Shared
from models.kernels.triton.weights import PackedWeights


def write_masks(allowed: Sequence[Tensor | None], weights: PackedWeights, shared: Shared) -> None:
    """Set the first rows of `shared.masks` and `shared.usable` to `allowed`, a row's sorted ids or None."""
    shared.make_masks()
    rows, device = len(allowed), weights.device
    free = torch.tensor([ids is None for ids in allowed])
    free = send(free, device)
    masks, usable = shared.masks[:rows], shared.usable[:rows]
    masks.copy_(torch.where(free[:, None], -1, 0))
    usable[:, 1:].copy_(torch.where(free[:, None], weights.usable[None], 0))
    sets = [(row, ids) for row, ids in enumerate(allowed) if ids is not None]
    if not sets:
        return
    ids = torch.cat([ids for _, ids in sets]).to(device, non_blocking=True)
    lengths = torch.tensor([len(ids) for _, ids in sets])
    row = send(torch.tensor([row for row, _ in sets]).repeat_interleave(lengths), device)
    bit = torch.bitwise_left_shift(torch.ones_like(ids), ids & 31)
    # A set bit must be added once: an id that comes twice stands beside itself.
    place = row * shared.masks.shape[1] * 32 + ids
    bit[1:].masked_fill_(place[1:] == place[:-1], 0)
    # 1 << 31 must wrap to the sign bit of int32, and the sum of distinct bits is their union.
    bit = torch.where(bit == 1 << 31, -(1 << 31), bit).to(torch.int32)
    masks.view(-1).scatter_add_(0, place >> 5, bit)
    section = weights.sections[ids].long() * (~weights.barred[ids])
    usable.view(-1).scatter_(0, row * usable.shape[1] + section, 1)


def send(values: Tensor, device: torch.device) -> Tensor:
    """`values` of the CPU on `device`; from pinned memory, so that the host does not wait for the copy."""
    if device.type == "cuda":
        return values.pin_memory().to(device, non_blocking=True)
    return values.to(device)
