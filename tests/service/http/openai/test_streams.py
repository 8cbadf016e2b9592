"""A completion that is streamed, around an engine that the test holds."""

import json

import pytest

from models.bundle import Bundle
from service.contract.messages import Answer, Message, Predicted
from tests.support.asgi import Local, post
from tests.support.engines import TIMING

pytestmark = pytest.mark.anyio


async def test_a_deadline_inside_a_stream_is_its_last_event(local: Local, bundle: Bundle) -> None:
    def answer(message: Message) -> Answer:
        app.engine.hold.clear()  # The first word is drawn, the second never begun.
        return Predicted((), (), (), TIMING, drawn=(bundle.vocabulary.encode_batch(["very"])[0][0], -1.0))

    app = local(answer)
    body = {"prompt": "Thank you very", "max_tokens": 3, "temperature": 0, "timeout_ms": 1000, "stream": True}
    response = await post(app, "completions", **body)
    assert response.status_code == 200
    first, last = [json.loads(event.removeprefix("data: ")) for event in response.text.split("\n\n") if event]
    assert first["choices"][0]["text"] == " very"
    assert first["choices"][0]["finish_reason"] is None
    assert last["error"]["code"] == "deadline_exceeded"
    assert len(app.engine.submitted) == 2
