"""What a request may not be: too much, for another model, compressed."""

import pytest

from service.contract.errors import TooLarge
from tests.support.asgi import Local, error_of, post

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("body", "param", "code"),
    [
        ({"inputs": []}, "inputs", "empty"),
        ({"inputs": ["a"] * 6}, "inputs", "too_many_inputs"),
        ({"inputs": "a" * 101}, "inputs", "too_many_characters"),
        ({"inputs": ["a", "a" * 101]}, "inputs[1]", "too_many_characters"),
        ({"inputs": "a " * 21}, "inputs", "too_many_words"),
        ({"inputs": ["a", "a " * 21]}, "inputs[1]", "too_many_words"),
    ],
)
@pytest.mark.parametrize("path", ["predict", "score"])
async def test_limits(local: Local, path: str, body: dict[str, object], param: str, code: str) -> None:
    app = local(max_inputs=5, max_input_chars=100, max_input_words=20)
    response = await post(app, path, **body)
    assert response.status_code == 422
    assert (error_of(response)["param"], error_of(response)["code"]) == (param, code)
    assert not app.engine.submitted
    assert app.sample("rejected_total", reason="invalid") == 1


async def test_limits_of_single_fields(local: Local) -> None:
    app = local(max_k=7, max_input_chars=100, max_input_words=20)
    assert error_of(await post(app, "predict", inputs="a", k=8))["param"] == "k"
    assert (await post(app, "predict", inputs="a", k=7)).status_code == 200
    assert error_of(await post(app, "score", inputs="a", context="a" * 101))["param"] == "context"
    assert error_of(await post(app, "score", inputs="a", context="a " * 21))["param"] == "context"


async def test_a_text_without_words_has_no_score(local: Local) -> None:
    response = await post(local(), "score", inputs=["you", " \n"], end_of_sentence=False)
    assert response.status_code == 422
    assert error_of(response)["param"] == "inputs[1]"


async def test_more_than_the_queue_can_ever_hold_is_422(local: Local) -> None:
    app = local()
    app.engine.refusal = TooLarge("The request has more tokens than the queue can hold.")
    response = await post(app, "score", inputs="a")
    assert response.status_code == 422
    assert (error_of(response)["param"], error_of(response)["code"]) == ("inputs", "too_many_words")


async def test_model(local: Local) -> None:
    app = local()
    assert (await post(app, "predict", inputs="a", model="tiny")).status_code == 200
    response = await post(app, "predict", inputs="a", model="other")
    assert response.status_code == 404
    assert (error_of(response)["param"], error_of(response)["code"]) == ("model", "model_not_found")


@pytest.mark.parametrize("value", ["0", "-1", "soon", "nan", ""])
async def test_a_bad_timeout_header(local: Local, value: str) -> None:
    response = await post(local(), "predict", {"x-request-timeout": value}, inputs="a")
    assert response.status_code == 422
    assert error_of(response)["param"] == "X-Request-Timeout"


async def test_compressed_bodies_are_told(local: Local) -> None:
    response = await post(local(), "predict", {"content-encoding": "gzip"}, inputs="a")
    assert response.status_code == 400
    assert error_of(response)["code"] == "unsupported_content_encoding"


@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded", "x"])
async def test_any_content_type_is_read_as_json(local: Local, content_type: str | None) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    async with local().client() as client:
        response = await client.post("/v1/predict", content=b'{"inputs": "a"}', headers=headers)
    assert response.status_code == 200
