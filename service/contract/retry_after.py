"""What `Retry-After` says: when the work that is left will be done, at the rate of the work that was done."""

FIRST_SECONDS = 1.0
MAX_SECONDS = 60.0


def retry_after(left: float, done: float, seconds: float) -> float:
    """Seconds until the work that is left is done, at most `MAX_SECONDS`.

    Args:
        left: work, in any unit.
        done: work that was done lately, in the same unit; without any, the answer is `FIRST_SECONDS`.
        seconds: the time that this took.
    """
    return min(MAX_SECONDS, left * seconds / done) if done else FIRST_SECONDS
