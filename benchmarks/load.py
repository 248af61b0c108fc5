"""The load, in a process of its own: ``python -m benchmarks.load URL METHOD CONNECTIONS SECONDS`` prints what it met as
JSON: {"rps": …, "p50_ms": …, "p99_ms": …}. Every connection sends its next request when its last one is answered."""

import asyncio
import json
import sys
import time
from statistics import quantiles

import aiohttp

WARM_UP_S = 0.5


async def measure(url: str, method: str, connections: int, seconds: float) -> dict[str, float]:
    """Raises AssertionError for any answer that is not a success."""
    latencies: list[float] = []
    began = time.perf_counter() + WARM_UP_S
    end = began + seconds
    connector = aiohttp.TCPConnector(limit=connections)

    async def one() -> None:
        while (sent := time.perf_counter()) < end:
            body = {"name": "measured"} if method == "POST" else None
            async with session.request(method, url, json=body) as reply:
                await reply.read()
                assert reply.ok, reply.status
            if sent >= began:
                latencies.append(time.perf_counter() - sent)

    async with aiohttp.ClientSession(connector=connector) as session:
        await asyncio.gather(*(one() for _ in range(connections)))
    took = time.perf_counter() - began
    hundredths = quantiles(latencies, n=100)
    return {"rps": len(latencies) / took, "p50_ms": hundredths[49] * 1000, "p99_ms": hundredths[98] * 1000}


if __name__ == "__main__":
    url, method, connections, seconds = sys.argv[1:]
    print(json.dumps(asyncio.run(measure(url, method, int(connections), float(seconds)))))
