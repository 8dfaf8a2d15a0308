"""The alignment loss, its gradient and its posterior in one launch; what it computes and how: ../README.md."""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from genoformer_kernels import arguments, launch

MAX_COLUMNS = 1024
MAX_LABELS = 4096

_HEAD_BITS = 12  # of the scale: its product with an exponent of a probability is exact
_SIGN_BIT: tl.constexpr = tl.constexpr(-(2**31))
_MIN_PROB: tl.constexpr = tl.constexpr(1e-7)
_MAX_PROB: tl.constexpr = tl.constexpr(1 - 1e-7)
_NOWHERE: tl.constexpr = tl.constexpr(1e30)  # value of cells outside the table: adding a cost does not change it
_MAGIC: tl.constexpr = tl.constexpr(12582912.0)  # 1.5 * 2^23: adding it rounds to a whole number
_ROUGH: tl.constexpr = tl.constexpr(1.5)  # adding it to a part rounds that to a multiple of 2^-23
_ROOT_HALF: tl.constexpr = tl.constexpr(0x3F3504F3)  # bits of the root of 1/2
_LOW_WORD: tl.constexpr = tl.constexpr(0xFFFFFFFF)
_ABSENT: tl.constexpr = tl.constexpr(0.2)  # probabilities of columns beyond the prediction


@triton.jit
def _clip(prob):
    return tl.minimum(tl.maximum(prob, _MIN_PROB), _MAX_PROB)


@triton.jit
def _share(emitted, prob):
    """Emissions of a class through clipping: nothing passes outside."""
    return tl.where((prob >= _MIN_PROB) & (prob <= _MAX_PROB), emitted, 0.0)


@triton.jit
def _mark(weight, is_marked):
    """`weight`, 0 or more, with its sign bit set where `is_marked`: also on zeros, which a product with -1 may not."""
    bits = weight.to(tl.int32, bitcast=True)
    return tl.where(is_marked, bits | _SIGN_BIT, bits).to(tl.float32, bitcast=True)


@triton.jit
def _normal(whole, part):
    """A value whole + part with the part in -0.5 .. 0.5."""
    carry = (part + _MAGIC) - _MAGIC
    return whole + carry, part - carry


@triton.jit
def _cost(prob, scale, scale_head, scale_rest, HARD: tl.constexpr):
    """-log2 of a clipped probability times the scale, as a value; head and rest add up to the scale.

    Under the minimum a part is a multiple of 2^-23: so sums are exact, and equal paths tie in whatever order they add.
    """
    bits = _clip(prob).to(tl.int32, bitcast=True)
    exponent = (bits - _ROOT_HALF) >> 23
    rest = tl.log2((bits - (exponent << 23)).to(tl.float32, bitcast=True))  # -0.5 .. 0.5
    product = exponent.to(tl.float32) * scale_head  # exact
    whole = (product + _MAGIC) - _MAGIC
    whole, part = _normal(-whole, whole - product - (exponent.to(tl.float32) * scale_rest + rest * scale))
    whole, part = _normal(whole, part)
    if HARD:
        part = (part + _ROUGH) - _ROUGH
    return whole, part


@triton.jit
def _packed(prob, scale, scale_head, scale_rest, num_bits, HARD: tl.constexpr):
    """A cost in one word, as a whole number of 2^-num_bits: half the registers, and a rounding of 1e-8 over T."""
    whole, part = _cost(prob, scale, scale_head, scale_rest, HARD)
    step = (1 << num_bits).to(tl.float32)
    return (whole.to(tl.int32) << num_bits) + (part * step).to(tl.int32)


@triton.jit
def _unpacked(packed, num_bits):
    step = (1 << num_bits).to(tl.float32)
    whole = packed >> num_bits
    return whole.to(tl.float32), (packed - (whole << num_bits)).to(tl.float32) / step


@triton.jit
def _shifted(whole, part, lanes):
    """A value's lanes moved, by one exchange of 64 bits."""
    high = whole.to(tl.int32, bitcast=True).to(tl.int64) << 32
    low = part.to(tl.int32, bitcast=True).to(tl.int64) & _LOW_WORD
    moved = tl.gather(high | low, lanes, 0)
    return (moved >> 32).to(tl.int32).to(tl.float32, bitcast=True), moved.to(tl.int32).to(tl.float32, bitcast=True)


@triton.jit
def _minimum(sw, sp, iw, ip, dw, dp, HARD: tl.constexpr):
    """The minimum of substitution, insertion and deletion, and the weights of the two that are not the cheapest.

    A sign bit on the first weight says that substitution is the cheapest, one on the second that insertion is. The
    weight of the cheapest is what is missing to 1: so all three keep their relative precision in two numbers.
    """
    over_insertion = (sw - iw) + (sp - ip)
    over_deletion = (sw - dw) + (sp - dp)
    insertion_over_deletion = (iw - dw) + (ip - dp)
    is_substitution = (over_insertion <= 0) & (over_deletion <= 0)
    is_insertion = (insertion_over_deletion <= 0) & (is_substitution == 0)
    whole = tl.where(is_substitution, sw, tl.where(is_insertion, iw, dw))
    part = tl.where(is_substitution, sp, tl.where(is_insertion, ip, dp))
    x = tl.abs(tl.where(is_substitution | is_insertion, over_insertion, over_deletion))
    y = tl.abs(tl.where(is_substitution, over_deletion, insertion_over_deletion))
    if HARD:
        ex = tl.where(x == 0, 1.0, 0.0)
        ey = tl.where(y == 0, 1.0, 0.0)
    else:
        ex = tl.exp2(0.0 - x)
        ey = tl.exp2(0.0 - y)
    total = 1.0 + ex + ey
    if not HARD:
        part -= tl.log2(total)
    whole, part = _normal(whole, part)
    share = 1.0 / total
    return whole, part, _mark(ex * share, is_substitution), _mark(ey * share, is_insertion)


@triton.jit
def _moves(first, second):
    """Weights of substitution, insertion and deletion from what `_minimum` gave; -0.0 is told from 0.0."""
    is_substitution = first.to(tl.int32, bitcast=True) < 0
    is_insertion = second.to(tl.int32, bitcast=True) < 0
    x, y = tl.abs(first), tl.abs(second)
    largest = 1.0 - (x + y)
    substitution = tl.where(is_substitution, largest, x)
    insertion = tl.where(is_substitution, x, tl.where(is_insertion, largest, y))
    deletion = tl.where(is_substitution | is_insertion, y, largest)
    return substitution, insertion, deletion


@triton.jit
def _left_shift(labels_ptr, bases_ptr, num_labels, LABELS: tl.constexpr):
    """Writes the bases of a label without its gaps; their number, and NaN where a symbol is none, else 0."""
    place = tl.arange(0, LABELS)
    symbol = tl.load(labels_ptr + place, mask=place < num_labels, other=0).to(tl.int32)
    is_base = (symbol != 0).to(tl.int32)
    rank = tl.cumsum(is_base, 0) - 1
    tl.store(bases_ptr + rank, symbol, mask=is_base != 0)
    unknown = tl.sum(((symbol < 0) | (symbol > 4)).to(tl.int32), 0)
    return tl.sum(is_base, 0), tl.where(unknown > 0, float("nan"), 0.0)


@triton.jit
def _alignment_kernel(  # noqa: PLR0913, PLR0915
    probs_ptr,  # [B, L, 5], any strides, float32, bfloat16 or float16
    labels_ptr,  # [B, M], any stride of B, whole numbers
    loss_ptr,  # [B] float32
    gradient_ptr,  # [B, L, 5] float32
    posterior_ptr,  # [B, M + L, L] float32: base i and column j, from 0, at [i + j + 1, j]
    bases_ptr,  # scratch, [programs, M] int32
    weights_ptr,  # scratch, [programs, M + L, 2, L] float32
    batch,
    num_labels,
    num_columns,
    probs_stride_b,
    probs_stride_l,
    probs_stride_c,
    labels_stride_b,
    deletion_whole,  # over the unit
    deletion_part,
    scale,  # from -log2 p to a cost over the unit
    scale_head,
    scale_rest,
    num_bits,  # of a packed cost behind the point
    unit,  # of values in the table, in nats
    COLUMNS: tl.constexpr,
    LABELS: tl.constexpr,
    HARD: tl.constexpr,
    GRADIENT: tl.constexpr,
    POSTERIOR: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    num_diagonals = num_labels + num_columns
    bases_ptr += program * num_labels
    weights_ptr += program * num_diagonals * 2 * num_columns
    lane = tl.arange(0, COLUMNS)  # column j - 1
    is_column = lane < num_columns
    is_first = lane == 0
    is_last = lane == num_columns - 1
    left = tl.maximum(lane - 1, 0)
    right = tl.minimum(lane + 1, COLUMNS - 1)
    number = tl.program_id(0)
    while number < batch:
        example = number.to(tl.int64)
        length, poison = _left_shift(labels_ptr + example * labels_stride_b, bases_ptr, num_labels, LABELS)
        tl.debug_barrier()  # the bases are read by other threads than wrote them

        here = probs_ptr + example * probs_stride_b + lane.to(tl.int64) * probs_stride_l
        p0 = tl.load(here, mask=is_column, other=_ABSENT).to(tl.float32)
        p1 = tl.load(here + probs_stride_c, mask=is_column, other=_ABSENT).to(tl.float32)
        p2 = tl.load(here + 2 * probs_stride_c, mask=is_column, other=_ABSENT).to(tl.float32)
        p3 = tl.load(here + 3 * probs_stride_c, mask=is_column, other=_ABSENT).to(tl.float32)
        p4 = tl.load(here + 4 * probs_stride_c, mask=is_column, other=_ABSENT).to(tl.float32)
        total = p0 + p1 + p2 + p3 + p4
        q = p0 / total + p1 / total + p2 / total + p3 / total + p4 / total
        poison += tl.sum(q - q, 0)  # NaN where a probability makes one
        c0, f0 = _cost(p0 / total, scale, scale_head, scale_rest, HARD)
        c1 = _packed(p1 / total, scale, scale_head, scale_rest, num_bits, HARD)
        c2 = _packed(p2 / total, scale, scale_head, scale_rest, num_bits, HARD)
        c3 = _packed(p3 / total, scale, scale_head, scale_rest, num_bits, HARD)
        c4 = _packed(p4 / total, scale, scale_head, scale_rest, num_bits, HARD)

        # Anti-diagonal k: lane j - 1 holds cell (k - j, j), as whole + part. Cells above row 0 hold NOWHERE, which
        # gives row 0 the insertion alone; column 0 enters from the left at the first lane.
        whole = tl.full([COLUMNS], _NOWHERE, tl.float32)
        part = tl.zeros([COLUMNS], tl.float32)
        diagonal_whole, diagonal_part = whole, part  # of k - 2, one column to the left
        left_whole = tl.full([], 0.0, tl.float32)
        left_part = tl.full([], 0.0, tl.float32)
        last = length + num_columns
        k = 1
        while k <= last:
            row = k - 1 - lane
            base = tl.load(bases_ptr + row - 1, mask=(row >= 1) & (row <= length), other=0)
            emitted = tl.where(base == 1, c1, tl.where(base == 2, c2, tl.where(base == 3, c3, c4)))
            emit_whole, emit_part = _unpacked(emitted, num_bits)
            beside_whole, beside_part = _shifted(whole, part, left)
            beside_whole = tl.where(is_first, left_whole, beside_whole)
            beside_part = tl.where(is_first, left_part, beside_part)
            whole, part, first, second = _minimum(
                diagonal_whole + emit_whole,
                diagonal_part + emit_part,
                beside_whole + c0,
                beside_part + f0,
                whole + deletion_whole,
                part + deletion_part,
                HARD,
            )
            diagonal_whole, diagonal_part = beside_whole, beside_part
            left_whole, left_part = _normal(left_whole + deletion_whole, left_part + deletion_part)
            if GRADIENT or POSTERIOR:
                cell = weights_ptr + (k - 1) * 2 * num_columns + lane
                tl.store(cell, first, mask=is_column)
                tl.store(cell + num_columns, second, mask=is_column)
            k += 1
        end = tl.sum(tl.where(is_last, whole, 0.0), 0) * unit + tl.sum(tl.where(is_last, part, 0.0), 0) * unit
        tl.store(loss_ptr + example, end + poison)

        if GRADIENT or POSTERIOR:
            tl.debug_barrier()
            g0 = tl.zeros([COLUMNS], tl.float32)
            g1 = tl.zeros([COLUMNS], tl.float32)
            g2 = tl.zeros([COLUMNS], tl.float32)
            g3 = tl.zeros([COLUMNS], tl.float32)
            g4 = tl.zeros([COLUMNS], tl.float32)
            visits = tl.where(is_last, 1.0, 0.0)
            substituted = tl.zeros([COLUMNS], tl.float32)  # of anti-diagonal k + 1
            k = last
            while k >= 1:
                row = k - 1 - lane
                cell = weights_ptr + (k - 1) * 2 * num_columns + lane
                first = tl.load(cell, mask=is_column, other=0.0)
                second = tl.load(cell + num_columns, mask=is_column, other=0.0)
                substitution, insertion, deleted = _moves(first, second)
                inserted = visits * insertion
                going_left = inserted + substituted
                substituted = visits * substitution
                base = tl.load(bases_ptr + row - 1, mask=(row >= 1) & (row <= length), other=0)
                g0 += inserted
                g1 += tl.where(base == 1, substituted, 0.0)
                g2 += tl.where(base == 2, substituted, 0.0)
                g3 += tl.where(base == 3, substituted, 0.0)
                g4 += tl.where(base == 4, substituted, 0.0)
                if POSTERIOR:
                    place = posterior_ptr + (example * num_diagonals + k - 1) * num_columns + lane
                    tl.store(place, substituted, mask=is_column)
                arriving = tl.where(lane == COLUMNS - 1, 0.0, tl.gather(going_left, right, 0))
                visits = arriving + visits * deleted
                k -= 1
            if GRADIENT:
                # Through -log, clipping and renormalisation; the probabilities are read again to free registers.
                p0 = tl.load(here, mask=is_column, other=_ABSENT).to(tl.float32)
                p1 = tl.load(here + probs_stride_c, mask=is_column, other=_ABSENT).to(tl.float32)
                p2 = tl.load(here + 2 * probs_stride_c, mask=is_column, other=_ABSENT).to(tl.float32)
                p3 = tl.load(here + 3 * probs_stride_c, mask=is_column, other=_ABSENT).to(tl.float32)
                p4 = tl.load(here + 4 * probs_stride_c, mask=is_column, other=_ABSENT).to(tl.float32)
                total = p0 + p1 + p2 + p3 + p4
                g0 = _share(g0, p0 / total)
                g1 = _share(g1, p1 / total)
                g2 = _share(g2, p2 / total)
                g3 = _share(g3, p3 / total)
                g4 = _share(g4, p4 / total)
                kept = g0 + g1 + g2 + g3 + g4
                target = gradient_ptr + (example * num_columns + lane) * 5
                tl.store(target, (kept - g0 / _clip(p0 / total)) / total + poison, mask=is_column)
                tl.store(target + 1, (kept - g1 / _clip(p1 / total)) / total + poison, mask=is_column)
                tl.store(target + 2, (kept - g2 / _clip(p2 / total)) / total + poison, mask=is_column)
                tl.store(target + 3, (kept - g3 / _clip(p3 / total)) / total + poison, mask=is_column)
                tl.store(target + 4, (kept - g4 / _clip(p4 / total)) / total + poison, mask=is_column)
        tl.debug_barrier()  # the next example overwrites bases and weights
        number += tl.num_programs(0)


def refusal(probs: Tensor, labels: Tensor) -> str | None:
    """Why the kernel cannot align these tensors; None where it can."""
    if probs.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        return f"it takes float32, bfloat16 and float16; the probabilities are {probs.dtype}"
    if probs.shape[1] > MAX_COLUMNS:
        return f"it takes predictions of up to {MAX_COLUMNS} columns; these have {probs.shape[1]}"
    if labels.shape[1] > MAX_LABELS:
        return f"it takes labels of up to {MAX_LABELS} columns; these have {labels.shape[1]}"
    return launch.refusal(probs)


def _bits_behind_point(scale: float) -> int:
    """How many bits of a word are left for the part of the largest cost, at a probability of 1e-7."""
    return 30 - math.ceil(math.log2(24 * scale)) if scale > 1 else 24


def _head(number: float) -> float:
    """The first bits of a number, so few that products with small whole numbers are exact in float32."""
    mantissa, exponent = math.frexp(number)
    return math.ldexp(round(math.ldexp(mantissa, _HEAD_BITS)), exponent - _HEAD_BITS)


def _whole_and_part(number: float, *, rough: bool) -> tuple[float, float]:
    """A value of the table; `rough` as under the minimum, see `_cost`."""
    whole = round(number)
    part = number - whole
    return float(whole), round(part * 2**23) / 2**23 if rough else part


def _upcast_for_interpreter(probs: Tensor) -> Tensor:
    """The interpreter reads bfloat16 wrongly; on a device the kernel upcasts as it loads."""
    return probs.float() if launch.is_interpreting() and probs.dtype == torch.bfloat16 else probs


def solve(
    probs: Tensor,
    labels: Tensor,
    *,
    deletion_cost: float,
    temperature: float | None,
    gradient: bool = False,
    posterior: bool = False,
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Loss [B], d loss / d probs [B, L, 5] and d loss / d S [B, M, L], float32, by one launch; the last two if wanted.

    Args:
        probs: [B, L, 5], float32, bfloat16 or float16; any strides.
        labels: [B, M], whole numbers, 0 for a gap, 1 .. 4 for a base; any strides. An example with another symbol
            has a NaN loss, as has one with NaN probabilities.
        temperature: None for the hard minimum.
    Raises:
        ValueError: shapes, types or parameters that do not fit, or tensors that the kernel cannot align; see
            `arguments` and `refusal`.
    """
    arguments.check(probs, labels, deletion_cost=deletion_cost, temperature=temperature)
    if reason := refusal(probs, labels):
        raise ValueError(f"alignment kernel: {reason}")
    probs = _upcast_for_interpreter(probs.detach())
    if labels.stride(1) != 1:  # a stride would take the registers that long labels need
        labels = labels.contiguous()
    batch, num_columns, _ = probs.shape
    num_labels = labels.shape[1]
    num_diagonals = num_labels + num_columns
    shape = launch.launch_shape(num_columns, num_labels)
    programs = launch.num_programs(probs, batch, shape.num_warps)

    def empty(wanted: bool, *size: int) -> Tensor:
        return torch.empty(size if wanted else 1, dtype=torch.float32, device=probs.device)

    loss = empty(True, batch)
    probs_gradient = empty(gradient, batch, num_columns, arguments.NUM_CLASSES)
    skewed = empty(posterior, batch, num_diagonals, num_columns)
    weights = empty(gradient or posterior, programs, num_diagonals, 2, num_columns)
    bases = torch.empty(programs, max(1, num_labels), dtype=torch.int32, device=probs.device)
    scale = 1.0 if temperature is None else 1.0 / temperature
    unit = arguments.unit(temperature)
    head = _head(scale)
    if batch:
        _alignment_kernel[(programs,)](
            probs, labels, loss, probs_gradient, skewed, bases, weights,
            batch, num_labels, num_columns, *probs.stride(), labels.stride(0),
            *_whole_and_part(deletion_cost / unit, rough=temperature is None),
            scale, head, scale - head, _bits_behind_point(scale), unit,
            COLUMNS=shape.columns, LABELS=shape.labels, HARD=temperature is None,
            GRADIENT=gradient, POSTERIOR=posterior, **shape.options,
        )  # fmt: skip
    return loss, probs_gradient if gradient else None, _unskew(skewed, labels, loss) if posterior else None


def _unskew(skewed: Tensor, labels: Tensor, loss: Tensor) -> Tensor:
    """[B, M, L] from anti-diagonals [B, M + L, L]; zero beyond a label's bases, NaN where the loss is."""
    batch, num_diagonals, num_columns = skewed.shape
    num_labels = num_diagonals - num_columns
    # Base i and column j lie at (i + j + 1) L + j.
    strides = (num_diagonals * num_columns, num_columns, num_columns + 1)
    rows = skewed.as_strided((batch, num_labels, num_columns), strides, num_columns)
    is_base = torch.arange(num_labels, device=labels.device) < (labels != 0).sum(dim=1, keepdim=True)  # [B, M]
    return torch.where(is_base[..., None], rows, 0.0) + (loss - loss)[:, None, None]


class _AlignmentLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, probs: Tensor, labels: Tensor, deletion_cost: float, temperature: float | None) -> Tensor:
        loss, gradient, _ = solve(
            probs, labels, deletion_cost=deletion_cost, temperature=temperature, gradient=ctx.needs_input_grad[0]
        )
        ctx.save_for_backward(gradient)
        ctx.dtype = probs.dtype
        return loss

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, upstream: Tensor) -> tuple[Tensor, None, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * upstream[:, None, None]).to(ctx.dtype), None, None, None  # [B, L, 5]


def alignment_loss(
    probs: Tensor, labels: Tensor, *, deletion_cost: float = 10.0, temperature: float | None = 0.1
) -> Tensor:
    """The loss of each example, [B] float32, with its gradient; arguments and errors as in `solve`."""
    return _AlignmentLoss.apply(probs, labels, deletion_cost, temperature)
