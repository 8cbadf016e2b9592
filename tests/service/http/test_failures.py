"""Refusals of the engine, its failures, deadlines, health."""

import asyncio

import pytest

from models.bundle import Bundle
from service.contract.errors import Draining, InferenceFailed, NotReady, QueueFull
from service.contract.messages import Predict, Predicted
from tests.support.asgi import Local, error_of, post
from tests.support.engines import compute

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("refusal", "status", "code"),
    [
        (QueueFull(retry_after=4.5), 429, "queue_full"),
        (NotReady(), 503, "not_ready"),
        (Draining(), 503, "draining"),
    ],
)
async def test_what_the_engine_refuses(local: Local, refusal: Exception, status: int, code: str) -> None:
    app = local()
    app.engine.refusal = refusal
    response = await post(app, "predict", inputs="a")
    assert (response.status_code, error_of(response)["code"]) == (status, code)
    assert response.headers["retry-after"] == ("5" if status == 429 else "1")
    assert app.sample("rejected_total", reason=code) == 1
    assert app.admission.in_flight == 0


@pytest.mark.parametrize(
    ("fault", "code"), [(InferenceFailed(), "inference_failed"), (RuntimeError("secret"), "internal_error")]
)
async def test_failures_are_500_without_a_traceback(
    local: Local, caplog: pytest.LogCaptureFixture, fault: Exception, code: str
) -> None:
    def fail(message: object) -> Predicted:
        raise fault

    app = local(answer=fail)
    response = await post(app, "predict", {"x-request-id": "me-1"}, inputs=["Thank you", "very"])
    assert (response.status_code, error_of(response)["code"]) == (500, code)
    assert "secret" not in response.text
    assert response.headers["x-request-id"] == "me-1"
    (record,) = [record for record in caplog.records if record.exc_info]
    assert record.fields == {"id": "me-1", "endpoint": "/v1/predict"}  # type: ignore[attr-defined]


async def test_one_failing_input_fails_its_request_only(local: Local, bundle: Bundle) -> None:
    def sometimes(message: Predict) -> Predicted:
        if message.k == 3:
            raise InferenceFailed
        answer = compute(bundle, message)
        assert isinstance(answer, Predicted)
        return answer

    app = local(answer=sometimes)
    bad, good = await asyncio.gather(
        post(app, "predict", inputs=["a", "b"], k=3), post(app, "predict", inputs=["a", "b"], k=2)
    )
    assert (bad.status_code, good.status_code) == (500, 200)


async def test_deadline_is_kept_whatever_the_engine_does(local: Local) -> None:
    app = local()
    app.engine.hold.clear()
    response = await post(app, "predict", inputs=["a", "b"], timeout_ms=20)
    assert response.status_code == 504
    assert error_of(response)["code"] == "deadline_exceeded"
    assert all(future.cancelled() for future in app.engine.futures)


@pytest.mark.parametrize(
    ("header", "timeout_ms", "expected"),
    [
        (None, None, 30.0),
        ("2.5", None, 2.5),
        (None, 1500, 1.5),
        ("2", 5000, 2.0),
        ("5", 2000, 2.0),
        ("1e9", None, 60.0),
        (None, 10**30, 30.0),
        ("inf", None, 60.0),
    ],
)
async def test_deadline_given_to_the_engine(
    local: Local, header: str | None, timeout_ms: int | None, expected: float
) -> None:
    app = local(max_request_timeout=60)
    started = asyncio.get_running_loop().time()
    headers = {} if header is None else {"x-request-timeout": header}
    response = await post(app, "predict", headers, inputs="a", timeout_ms=timeout_ms)
    assert response.status_code == 200
    deadline = app.engine.submitted[0].deadline
    assert deadline is not None
    assert deadline - started == pytest.approx(expected, abs=1)


@pytest.mark.parametrize(
    ("state", "live", "ready", "code"),
    [
        ("ready", 200, 200, None),
        ("starting", 200, 503, "loading"),
        ("draining", 200, 503, "draining"),
        ("dead", 503, 503, "engine_dead"),
    ],
)
async def test_health(local: Local, state: str, live: int, ready: int, code: str | None) -> None:
    app = local()
    app.engine.state, app.engine.reason = state, "because"
    async with app.client() as client:
        answers = {path: await client.get(path) for path in ("/health/live", "/health/ready", "/health")}
        head = await client.head("/health/ready")
    assert [answer.status_code for answer in answers.values()] == [live, ready, ready]
    assert head.status_code == ready
    for answer in answers.values():
        if answer.status_code == 200:
            assert answer.json() == {"status": "ok"}
        else:
            assert error_of(answer)["code"] == code
            assert answer.headers["retry-after"]
    assert app.sample("rejected_total", reason="not_ready") == 0


async def test_draining_is_seen_at_once(local: Local) -> None:
    app = local()
    app.admission.draining = True
    async with app.client() as client:
        ready = await client.get("/health/ready")
        live = await client.get("/health/live")
        refused = await client.post("/v1/predict", json={"inputs": "a"})
    assert (ready.status_code, live.status_code, refused.status_code) == (503, 200, 503)
    assert error_of(ready)["code"] == error_of(refused)["code"] == "draining"
    assert refused.headers["connection"] == "close"
    assert app.sample("rejected_total", reason="draining") == 1
