"""Who watches, in a process of its own: ``python -m benchmarks.live_load WATCH_URL POST_URL CLIENTS CHANGES EVERY_S``
opens the streams, posts so many changes one after the other, and prints what it met as JSON: {"p50_ms": …, "p99_ms": …,
"max_ms": …} of the time from the change (the message's ``at``) till each client had it, and "post_ms", the median
answer.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from datetime import datetime
from statistics import median, quantiles

import aiohttp

HELLO = b"event: hello\n"


async def measure(watch: str, post: str, clients: int, changes: int, every_s: float) -> dict[str, float]:
    """Raises AssertionError for any answer that is not a success, TimeoutError when a client hears too little."""
    latencies: list[float] = []
    listening = [asyncio.Event() for _ in range(clients)]

    async def one(listens: asyncio.Event) -> None:
        async with session.get(watch) as reply:
            assert reply.ok, reply.status
            said = _said(reply.content, listens)
            for _ in range(changes):
                at = await anext(said)
                latencies.append(time.time() - at)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        watchers = asyncio.gather(*(one(listens) for listens in listening))
        await asyncio.wait_for(asyncio.gather(*(listens.wait() for listens in listening)), 120)
        answers = [await _change(session, post, every_s) for _ in range(changes)]
        await asyncio.wait_for(watchers, 120)
    hundredths = [1000 * each for each in quantiles(latencies, n=100)]
    slowest = max(latencies) * 1000
    return {"p50_ms": hundredths[49], "p99_ms": hundredths[98], "max_ms": slowest, "post_ms": median(answers) * 1000}


async def _said(lines: aiohttp.StreamReader, listens: asyncio.Event) -> AsyncIterator[float]:
    """When each change was made, as it is told; in seconds since 1970."""
    async for line in lines:
        if line == HELLO:
            listens.set()
        elif line.startswith(b"data: ") and "at" in (change := json.loads(line[6:])):
            yield datetime.fromisoformat(change["at"]).timestamp()


async def _change(session: aiohttp.ClientSession, url: str, every_s: float) -> float:
    """Seconds till the answer."""
    sent = time.perf_counter()
    async with session.post(url, json={"name": "measured"}) as reply:
        assert reply.ok, reply.status
    took = time.perf_counter() - sent
    await asyncio.sleep(every_s - took)
    return took


if __name__ == "__main__":
    watch, post, clients, changes, every_s = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(watch, post, int(clients), int(changes), float(every_s)))))
