"""Many answers, one wake-up."""

import threading

from service.contract.wakeups import together, wake


def test_at_once_or_once_at_the_end() -> None:
    woken: list[int] = []

    def first() -> None:
        woken.append(1)

    def second() -> None:
        woken.append(2)

    wake(first)
    assert woken == [1]
    with together():
        for call in (first, second, first):
            wake(call)
        assert woken == [1]
        other = threading.Thread(target=wake, args=[second])  # Another thread does not wait for this one.
        other.start()
        other.join()
        assert woken == [1, 2]
    assert woken == [1, 2, 1, 2]
    wake(second)
    assert woken[-1] == 2


def test_a_fault_inside_lets_nobody_sleep() -> None:
    woken: list[int] = []
    try:
        with together():
            wake(lambda: woken.append(1))
            raise ValueError
    except ValueError:
        pass
    assert woken == [1]
