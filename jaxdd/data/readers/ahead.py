"""Decoding by threads, in order: Pillow decodes without holding the lock of Python."""

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

BLOCK = (
    32  # items of one task: handing over single small images costs more than it gains
)
MOST_THREADS = 16


def in_order(
    function: Callable[[Item], Result], items: Iterable[Item], block: int = BLOCK
) -> Iterator[Result]:
    """`map(function, items)`, computed ahead by a thread per core.

    Results come in the order of the items, and so does what the function raises. At
    most two blocks a thread are ahead of the caller, so that memory stays flat.

    Args:
        function: called in threads.
        items: taken in the caller's thread.
        block: items of one task.

    Example:
        >>> list(in_order(lambda x: x * x, range(5), block=2))
        [0, 1, 4, 9, 16]
    """

    def whole(items: list[Item]) -> list[Result | Exception]:
        return [_outcome(function, item) for item in items]

    threads = min(os.cpu_count() or 1, MOST_THREADS)
    source, waiting = iter(items), deque[Future]()
    pool = ThreadPoolExecutor(threads)
    try:
        while True:
            while len(waiting) < 2 * threads:
                taken = list(itertools.islice(source, block))
                if not taken:
                    break
                waiting.append(pool.submit(whole, taken))
            if not waiting:
                return
            for result in waiting.popleft().result():
                if isinstance(result, Exception):
                    raise result
                yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _outcome(function: Callable[[Item], Result], item: Item) -> Result | Exception:
    try:
        return function(item)
    except Exception as error:  # raised in the caller's thread, in its turn
        return error
