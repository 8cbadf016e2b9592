"""Good requests, bad ones, late ones and ones whose client leaves, all at once: nothing stays behind."""

import concurrent.futures
import http.client
import json
import random
import socket
from collections import Counter

import httpx

from tests.support.http import samples, sentences
from tests.support.server_process import ServerProcess

ALLOWED = {
    "good": {200, 429},
    "bad": {400, 422},
    "late": {200, 429, 504},
}
REQUESTS_A_CLIENT = 60


def ask(host: str, seed: int) -> Counter[tuple[str, int]]:
    """One client's requests, one after the other; how often which kind got which status."""
    rng = random.Random(seed)
    statuses: Counter[tuple[str, int]] = Counter()
    connection = http.client.HTTPConnection(host, timeout=30)
    texts = sentences(5, seed)
    for _ in range(REQUESTS_A_CLIENT):
        path = rng.choice(["/v1/predict", "/v1/score"])
        body: dict[str, object] = {"inputs": rng.choices(texts, k=rng.randint(1, 5))}
        kind = rng.choices(["good", "bad", "late", "gone"], weights=[80, 5, 5, 10])[0]
        if kind == "bad":
            body = rng.choice([{"inputs": []}, {"inputs": 5}, {"inputs": "a", "x": 1}, {}])
        if kind == "late":
            body["timeout_ms"] = 1
        content = json.dumps(body)
        if kind == "gone":
            with socket.create_connection(tuple(host.split(":"))) as leaving:
                head = f"POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {len(content)}\r\n\r\n"
                leaving.sendall((head + content[: rng.choice([5, len(content)])]).encode())
            continue
        connection.request("POST", path, content)
        response = connection.getresponse()
        response.read()
        statuses[kind, response.status] += 1
    connection.close()
    return statuses


def test_mixed_load_leaves_nothing_behind(server: ServerProcess, client: httpx.Client) -> None:
    host = server.url.removeprefix("http://")
    with concurrent.futures.ThreadPoolExecutor(12) as pool:
        statuses = sum(pool.map(lambda seed: ask(host, seed), range(12)), Counter())
    for kind, status in statuses:
        assert status in ALLOWED[kind]
    assert statuses["good", 200] > 100
    page = samples(client)
    while page["requests_in_progress", ()] > 1:
        page = samples(client)
    assert page["queue_depth", ()] == 0
    assert page["queue_tokens", ()] == 0
    failures = [
        key
        for key, value in page.items()
        if key[0] == "requests_total" and ("status", "500") in key[1] and value
    ]
    assert failures == []
