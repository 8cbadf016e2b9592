# mypy: disable-error-code="import-not-found, no-untyped-def, no-untyped-call, untyped-decorator"
"""What the Triton kernels share: sortable keys, the k-th largest of them, dot products, the work list.

Every function here runs on the device, inside another kernel, and touches memory only where its docstring
says so.

A *key* is an int64 that sorts as "larger value first, then smaller id": the float's bits, made monotone,
above 31 bits of the inverted id. Keys of different words differ, so equal values upset no selection.
"""

from __future__ import annotations

import triton
import triton.language as tl

# Triton's CPU interpreter multiplies bfloat16 as if it were integers; there operands are widened first.
INTERPRETED = tl.constexpr(bool(triton.knobs.runtime.interpret))

# Below every key, that of -inf too.
NO_KEY = tl.constexpr(-0x7FFFFFFFFFFFFFFF)
MAX_ID = tl.constexpr(0x7FFFFFFF)


@triton.jit
def asked_rows(shape):
    """How many rows there are: the low 16 bits of the int32 in memory at `shape`."""
    return tl.load(shape) & 0xFFFF


@triton.jit
def asked_k(shape):
    """How many words each row asks for: the upper bits."""
    return tl.load(shape) >> 16


@triton.jit
def make_key(value, word_id):
    """The key of `value` (float32) for `word_id` (int32, not negative); -0.0 counts as 0.0."""
    bits = tl.where(value == 0.0, 0.0, value).to(tl.int32, bitcast=True)
    ordered = bits ^ ((bits >> 31) & MAX_ID)
    return (ordered.to(tl.int64) << 32) | (-word_id + MAX_ID).to(tl.int64)


@triton.jit
def key_value(key):
    """The float32 in a key."""
    ordered = (key >> 32).to(tl.int32)
    return (ordered ^ ((ordered >> 31) & MAX_ID)).to(tl.float32, bitcast=True)


@triton.jit
def key_id(key):
    """The id in a key."""
    return -(key & MAX_ID).to(tl.int32) + MAX_ID


@triton.jit
def between(low, high, step):
    """A key between two: halving the interval of values in even steps and that of bits in odd ones, which
    always ends."""
    middle = (low >> 1) + (high >> 1) + (low & high & 1)
    half = 0.5 * key_value(low) + 0.5 * key_value(high)
    by_value = make_key(half, (middle & 0).to(tl.int32))
    use = ((step & 1) == 0) & (by_value > low) & (by_value < high)
    return tl.where(use, by_value, middle)


@triton.jit
def kth_largest(keys, k, slack):
    """A key t with k <= #(keys >= t) <= k + slack, as small a count as bisection meets first; NO_KEY where
    there are fewer than k keys. `keys` is a block, NO_KEY where there is none."""
    low = tl.full((), NO_KEY, tl.int64)
    count = tl.sum((keys > NO_KEY).to(tl.int32))
    above = tl.max(keys) + 1
    start = tl.min(tl.where(keys > NO_KEY, keys, above))
    low = tl.where(count >= k, start, low)
    high = above
    step = tl.full((), 0, tl.int32)
    middle = between(low, high, step)
    while (count > k + slack) & (middle > low):
        n = tl.sum((keys >= middle).to(tl.int32))
        low = tl.where(n >= k, middle, low)
        count = tl.where(n >= k, n, count)
        high = tl.where(n >= k, high, middle)
        step += 1
        middle = between(low, high, step)
    return low


@triton.jit
def log_sum_exp(values):
    """log sum exp of a block of float32, -inf where all are."""
    top = tl.max(values)
    base = tl.where(top == float("-inf"), 0.0, top)
    total = tl.sum(tl.exp(values - base))
    return tl.where(total > 0, base + tl.log(tl.where(total > 0, total, 1.0)), float("-inf"))


@triton.jit
def dot(weight, rows, total):
    """`total` (V, B) + weight (V, K) @ rows (K, B), accumulated in float32.

    Rows of the weight's own type multiply as they are. Float32 rows beside 16-bit weights are split in two
    16-bit terms, which keeps 16 (bfloat16) or 22 (float16) bits of them.
    """
    if INTERPRETED:
        result = total
        if rows.dtype == weight.dtype:
            result = tl.dot(weight.to(tl.float32), rows.to(tl.float32), total)
        else:
            result = tl.dot(weight.to(tl.float32), two_terms(rows, weight.dtype), total)
        return result
    else:  # noqa: RET505 -- the branch is the compiler's, not Python's
        result = total
        if rows.dtype == weight.dtype:
            result = tl.dot(weight, rows, total, input_precision="ieee")
        else:
            high = rows.to(weight.dtype)
            low = (rows - high.to(tl.float32)).to(weight.dtype)
            result = tl.dot(weight, low, tl.dot(weight, high, total))
        return result


@triton.jit
def two_terms(values, dtype: tl.constexpr):
    """Float32 `values` as the sum of two of `dtype`: what `dot` sees of them."""
    high = values.to(dtype).to(tl.float32)
    return high + (values - high).to(dtype).to(tl.float32)


@triton.jit
def is_allowed(masks, row, n_words, word_id):
    """Whether `word_id` may be answered in `row`: bits of `masks` (rows, n_words) int32, which this reads."""
    word = tl.load(masks + row.to(tl.int64) * n_words + (word_id >> 5))
    return ((word >> (word_id & 31)) & 1) != 0


@triton.jit
def find_item(item, ends):
    """Which stretch the `item`-th piece of work is in, and how many lie before that: `ends` (C,) are the
    running totals of the stretches' lengths."""
    before = ends <= item
    return tl.sum(before.to(tl.int32)), tl.max(tl.where(before, ends, 0))
