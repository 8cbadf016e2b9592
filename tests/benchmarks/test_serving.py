"""The load that benchmarks.serving makes, and how it counts."""

import asyncio
import json

import pytest

from benchmarks.serving.open_loop import Load
from benchmarks.serving.texts import Texts, body, write_for_lua
from models.benchmarking.charts import grouped_bars


def test_cold_texts_differ_from_their_first_word_on():
    texts = Texts()
    laps = 5 * len(texts.contexts)
    assert len({texts[i] for i in range(laps)}) == laps
    same_context = [texts[17 + lap * len(texts.contexts)] for lap in range(5)]
    assert len({text.split()[0] for text in same_context}) == 5


def test_repeated_texts_repeat():
    texts = Texts(cold=False)
    assert texts[3] == texts[3 + len(texts.contexts)] == texts.contexts[3]


def test_lua_files_hold_json_without_quotes(tmp_path):
    firsts, contexts = write_for_lua(tmp_path, cold=True)
    lines = contexts.read_text().splitlines()
    texts = Texts()
    assert [json.loads(f'"{line}"') for line in lines] == texts.contexts
    assert json.loads(body(texts[0]))["inputs"] == [firsts.read_text().splitlines()[0] + lines[0]]


async def _serve(statuses, load_of, hold=0.0):
    """Runs a load against a server that answers each request of the schedule with its status, whichever comes
    first; with `hold`, so many seconds after the last one came."""
    ends, came, all_came = [], set(), asyncio.Event()

    async def client(reader, writer):
        ends.append(asyncio.current_task())
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
                number = load.requests.index(head + await reader.readexactly(length))
                came.add(number)
                if hold:
                    if len(came) == len(load.requests):
                        all_came.set()
                    await all_came.wait()
                    await asyncio.sleep(hold)
                writer.write(b"HTTP/1.1 %d X\r\nContent-Length: 2\r\n\r\n{}" % statuses[number])
        except asyncio.IncompleteReadError:
            writer.close()
            await writer.wait_closed()

    server = await asyncio.start_server(client, "127.0.0.1", 0)
    async with server:
        load = load_of(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await load.run()
        await asyncio.gather(*ends)
    return load


def test_open_loop_counts_every_request_by_status():
    statuses = [200, 200, 429, 500] * 100
    load = asyncio.run(_serve(statuses, lambda url: Load(url, 200, 0.3, 60.0, 1)))
    found = load.result(0.3)
    sent = found["sent"]
    assert sum(found["statuses"].values()) == sent > 20
    assert found["answered"] == statuses[:sent].count(200)
    assert found["refused"] == statuses[:sent].count(429)
    assert found["goodput"] == pytest.approx(found["answered"] / 0.3)


def test_open_loop_does_not_wait_for_answers():
    load = asyncio.run(_serve([200] * 500, lambda url: Load(url, 200, 0.3, 0.1, 1), hold=0.4))
    found = load.result(0.3)
    # All were sent though none was answered before the last one came; all are too late.
    assert found["connections"] == found["sent"]
    assert found["answered"] == found["sent"]
    assert found["answered_p50"] >= 0.4
    assert found["goodput"] == 0


def test_open_loop_counts_its_warm_up_apart():
    load = asyncio.run(_serve([429] * 40 + [200] * 500, lambda url: Load(url, 200, 0.3, 60.0, 1, 0.3)))
    found = load.result(0.3)
    due = [offset >= 0.3 for offset in load.offsets]
    assert found["sent"] == sum(due) == sum(found["statuses"].values()) == found["statuses"]["200"]
    assert found["goodput"] == pytest.approx(sum(due) / 0.3)
    first = found["warm_up"]
    assert sum(first["statuses"].values()) == len(due) - sum(due) > 40
    assert first["refused"] == 40
    assert "refused_p99" in first
    assert "refused_p99" not in found


def test_a_chart_has_a_bar_for_each_value():
    svg = grouped_bars("Rates", "1/s", ["1", "8"], [("ours", [3.0, 5.0]), ("theirs", [2.0, None])])
    assert svg.count("<title>ours") == 2
    assert svg.count("<title>theirs") == 1
