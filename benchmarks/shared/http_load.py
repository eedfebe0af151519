"""A client process: requests over loopback at a fixed rate or one after another, and their times.

``python http_load.py`` reads one JSON object from standard input and prints one. At a fixed rate the time of
a request counts from the moment that it was due, whether or not earlier ones had been answered.
"""

import asyncio
import json
import sys
from time import perf_counter

HEAD = "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
HEAD += "Content-Length: {length}\r\n\r\n"


class Connections:
    """Connections that are kept open and used one request at a time."""

    def __init__(self, port: int):
        self._port, self._idle = port, []
        self.opened = 0

    async def post(self, request: bytes) -> int:
        """The status of the answer, when the whole of it is there; 0 where there is none."""
        try:
            return await self._post(request)
        except (OSError, EOFError):
            return 0

    async def _post(self, request: bytes) -> int:
        if not self._idle:
            self._idle.append(await asyncio.open_connection("127.0.0.1", self._port))
            self.opened += 1
        reader, writer = self._idle.pop()
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        length = next(line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
        await reader.readexactly(int(length.split(b":")[1]))
        self._idle.append((reader, writer))
        return int(head.split()[1])


async def at_a_rate(port: int, requests: list[bytes], rate: float, seconds: float) -> dict:
    """Open loop."""
    connections, times, statuses = Connections(port), [], []
    start = perf_counter() + 0.1

    async def one(number: int) -> None:
        due = start + number / rate
        await asyncio.sleep(max(due - perf_counter(), 0))
        status = await connections.post(requests[number % len(requests)])
        statuses.append(status)
        times.append(perf_counter() - due)

    await asyncio.gather(*(one(number) for number in range(int(rate * seconds))))
    return summary(times, statuses, perf_counter() - start) | {"connections": connections.opened}


async def one_after_another(port: int, requests: list[bytes], clients: int, seconds: float) -> dict:
    """Closed loop."""
    connections, times, statuses = Connections(port), [], []
    start = perf_counter()

    async def client(number: int) -> None:
        while perf_counter() - start < seconds:
            began = perf_counter()
            status = await connections.post(requests[(number + len(times)) % len(requests)])
            statuses.append(status)
            times.append(perf_counter() - began)

    await asyncio.gather(*(client(number) for number in range(clients)))
    return summary(times, statuses, perf_counter() - start)


def summary(times: list[float], statuses: list[int], seconds: float) -> dict:
    """Percentiles of what was answered with 200, in milliseconds, and such answers a second."""
    ordered = sorted(time for time, status in zip(times, statuses, strict=True) if status == 200) or [0.0]

    def percentile(share: float) -> float:
        return round(1e3 * ordered[min(int(share * len(ordered)), len(ordered) - 1)], 1)

    return {
        "requests": len(times),
        "not_200": sum(status != 200 for status in statuses),
        "p50_ms": percentile(0.5),
        "p99_ms": percentile(0.99),
        "max_ms": percentile(1.0),
        "per_second": round(statuses.count(200) / seconds, 1),
    }


def main() -> None:
    given = json.load(sys.stdin)
    requests = []
    for body in given["bodies"]:
        content = json.dumps(body).encode()
        requests.append(HEAD.format(path=given["path"], length=len(content)).encode() + content)
    if given["rate"]:
        found = at_a_rate(given["port"], requests, given["rate"], given["seconds"])
    else:
        found = one_after_another(given["port"], requests, given["clients"], given["seconds"])
    print(json.dumps(asyncio.run(found)))


if __name__ == "__main__":
    main()
