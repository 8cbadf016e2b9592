"""The Open Inference Protocol: the same answers as /v1, in tensors."""

import json
from typing import Any

import pytest

from models.bundle import Bundle
from tests.support.asgi import Local, LocalApp, post

pytestmark = pytest.mark.anyio


def tensor(*texts: Any, **changes: Any) -> dict[str, Any]:
    return {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts)} | changes


async def infer(app: LocalApp, body: dict[str, Any], path: str = "/v2/models/tiny/infer") -> Any:
    async with app.client() as client:
        return await client.post(path, json=body)


async def get(app: LocalApp, path: str) -> Any:
    async with app.client() as client:
        return await client.get(path)


def columns(answer: dict[str, Any]) -> dict[str, Any]:
    return {output["name"]: output["data"] for output in answer["outputs"]}


async def test_predict(local: Local) -> None:
    app = local()
    texts = ["Thank you very", "zzz", ""]
    response = await infer(app, {"id": "7", "inputs": [tensor(*texts)], "parameters": {"k": 3}})
    assert response.status_code == 200, response.text
    answer = response.json()
    assert (answer["model_name"], answer["model_version"], answer["id"]) == ("tiny", "1", "7")
    assert [(one["datatype"], one["shape"]) for one in answer["outputs"]] == [
        ("BYTES", [3, 3]),
        ("FP32", [3, 3]),
    ]
    expected = (await post(app, "predict", inputs=texts, k=3)).json()["results"]
    words = [word for result in expected for word in result["words"]]
    assert columns(answer) == {
        "words": [word["word"] for word in words],
        "logprobs": [word["logprob"] for word in words],
    }


async def test_rows_of_fewer_words_end_in_empty_ones(local: Local) -> None:
    body = {"inputs": [tensor("Thank you")], "parameters": {"k": 1000, "prefix": "ve"}}
    found = columns((await infer(local(), body)).json())
    there = sum(bool(word) for word in found["words"])
    assert 1 < there < 1000
    assert found["words"][there:] == [""] * (1000 - there)
    assert set(found["logprobs"][there:]) == {-3.4028234663852886e38}


async def test_a_prefix_has_completions(local: Local) -> None:
    app = local()
    asked = {"k": 30, "prefix": "(VE", "ignore_case": True, "words_only": True}
    response = await infer(
        app, {"inputs": [tensor("Thank you")], "parameters": asked | {"exclude": '["vest", "</s>"]'}}
    )
    assert response.status_code == 200, response.text
    found = columns(response.json())
    (expected,) = (await post(app, "predict", inputs="Thank you", exclude=["vest", "</s>"], **asked)).json()[
        "results"
    ]
    there = len(expected["words"])
    assert 1 < there < 30
    assert found == {
        "words": [word["word"] for word in expected["words"]] + [""] * (30 - there),
        "logprobs": [word["logprob"] for word in expected["words"]] + [-3.4028234663852886e38] * (30 - there),
        "completions": [word["completion"] for word in expected["words"]] + [""] * (30 - there),
    }


async def test_score(local: Local) -> None:
    app = local()
    texts = ["much.", "zzz the", ""]
    parameters = {"task": "score", "context": "Thank you very"}
    answer = (await infer(app, {"inputs": [tensor(*texts)], "parameters": parameters})).json()
    expected = (await post(app, "score", inputs=texts, context="Thank you very")).json()["results"]
    found = columns(answer)
    for name in ("logprob", "perplexity", "known_perplexity", "word_count", "unknown_words"):
        assert found[name] == pytest.approx([result[name] for result in expected], abs=1e-5)
    assert [json.loads(words) for words in found["word_scores"]] == [result["words"] for result in expected]
    assert "line_scores" not in found


async def test_the_options_of_score(local: Local, spelled: Bundle) -> None:
    app = local(of=spelled)
    texts = ["a well-known quiz.", "THE MAN It"]
    options: list[tuple[dict[str, Any], dict[str, Any]]] = [
        ({"group": "space", "unknown": "class"}, {}),
        ({"unknown_penalty": 1.5}, {}),
        ({"regions": [[[0, 12]], [[0, 3], [4, 7]]]}, {"regions": "[[[0, 12]], [[0, 3], [4, 7]]]"}),
        ({"context": ["Thank you", ""]}, {"context": '["Thank you", ""]'}),
        ({"context": "[Thank] you"}, {}),
        ({"context": "[1, 2]"}, {}),
        ({"lines": True}, {}),
        ({"ignore_case": True}, {}),
    ]
    for fields, strings in options:
        parameters = {"task": "score", **fields, **strings}
        body = {"inputs": [tensor(*texts)], "parameters": parameters}
        answer = await infer(app, body, "/v2/models/spelled/infer")
        assert answer.status_code == 200, answer.text
        found = columns(answer.json())
        expected = (await post(app, "score", inputs=texts, **fields)).json()["results"]
        assert found["logprob"] == [result["logprob"] for result in expected]
        assert list(map(json.loads, found["word_scores"])) == [result["words"] for result in expected]
        lines = [json.loads(one) for one in found.get("line_scores", [])]
        assert lines == [result["lines"] for result in expected if "lines" in result]
    body = {"inputs": [tensor("a")], "parameters": {"task": "score", "per_word": False}}
    assert "word_scores" not in columns((await infer(app, body, "/v2/models/spelled/infer")).json())


async def test_only_the_wanted_outputs(local: Local) -> None:
    body = {"inputs": [tensor("a")], "outputs": [{"name": "words"}], "parameters": {"k": 1}}
    assert list(columns((await infer(local(), body)).json())) == ["words"]


async def test_a_column_of_texts(local: Local) -> None:
    body = {"inputs": [tensor(["Thank you"], ["the"], shape=[2, 1])], "parameters": {"k": 1}}
    answer = (await infer(local(), body, "/v2/models/tiny/versions/1/infer")).json()
    assert answer["outputs"][0]["shape"] == [2, 1]


async def test_what_there_is(local: Local, bundle: Bundle) -> None:
    app = local()
    assert (await get(app, "/v2")).json()["name"] == "headfirst"
    assert (await get(app, "/v2/health/live")).json() == {"live": True}
    assert (await get(app, "/v2/health/ready")).json() == {"ready": True}
    assert (await get(app, "/v2/models/tiny/ready")).json() == {"name": "tiny", "ready": True}
    metadata = (await get(app, "/v2/models/tiny/versions/1")).json()
    assert metadata["inputs"] == [{"name": "text", "datatype": "BYTES", "shape": [-1]}]
    assert [one["name"] for one in metadata["outputs"]][:2] == ["words", "logprobs"]


async def test_health_tells_why_not(local: Local) -> None:
    app = local()
    app.engine.state, app.engine.reason = "dead", "it was told to"
    for path in ("live", "ready"):
        response = await get(app, f"/v2/health/{path}")
        assert (response.status_code, response.json()["error"]["code"]) == (503, "engine_dead")
    assert (await get(app, "/v2/models/tiny/ready")).status_code == 503


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"inputs": []}, "inputs"),
        ({"inputs": [tensor("a"), tensor("b")]}, "inputs"),
        ({"inputs": [tensor("a", name="x")]}, "inputs[0].name"),
        ({"inputs": [tensor("a", datatype="FP32")]}, "inputs[0].datatype"),
        ({"inputs": [tensor("a", shape=[2])]}, "inputs[0].data"),
        ({"inputs": [tensor("a", shape=[1, 2])]}, "inputs[0].shape"),
        ({"inputs": [tensor("a", 1)]}, "inputs[0].data[1]"),
        ({"inputs": [tensor("a", parameters={"binary_data_size": 5})]}, "inputs[0].parameters"),
        ({"parameters": {"task": "dance"}}, "parameters.task"),
        ({"parameters": {"k": 0}}, "parameters.k"),
        ({"parameters": {"k": 100_000}}, "parameters.k"),
        (
            {"parameters": {"task": "score", "k": 3}, "inputs": [tensor("")]},
            "parameters.k",
        ),
        (
            {"parameters": {"task": "score", "prefix": "a"}, "inputs": [tensor("")]},
            "parameters.prefix",
        ),
        ({"parameters": {"context": "a"}, "inputs": [tensor("")]}, "parameters.context"),
        ({"parameters": {"end_of_sentence": True}, "inputs": [tensor("")]}, "parameters.end_of_sentence"),
        (
            {"parameters": {"task": "score", "end_of_sentence": False}, "inputs": [tensor("")]},
            "inputs[0].data[0]",
        ),
        ({"parameters": {"what": 1}}, "parameters.what"),
        ({"parameters": {"exclude": ["a"]}}, "parameters.exclude"),
        ({"parameters": {"exclude": "a"}}, "parameters.exclude"),
        ({"parameters": {"exclude": '"a"'}}, "parameters.exclude"),
        ({"parameters": {"exclude": '["a", 1]'}}, "parameters.exclude[1]"),
        ({"parameters": {"task": "score", "exclude": "[]"}}, "parameters.exclude"),
        ({"outputs": [{"name": "completions"}]}, "outputs[0].name"),
        ({"parameters": {"lines": True}}, "parameters.lines"),
        ({"parameters": {"task": "score", "regions": "[[[0, 2]]]"}}, "parameters.regions[0][0]"),
        ({"parameters": {"task": "score", "regions": "[["}}, "parameters.regions"),
        ({"parameters": {"task": "score", "regions": [[[0, 1]]]}}, "parameters.regions"),
        ({"parameters": {"task": "score", "context": '["a", "b"]'}}, "parameters.context"),
        ({"parameters": {"task": "score", "lines": True, "context": "a"}}, "parameters.lines"),
        ({"parameters": {"task": "score", "unknown": "spelled"}}, "parameters.unknown"),
        ({"outputs": [{"name": "logprob"}]}, "outputs[0].name"),
        ({"outputs": [{"name": "words", "parameters": {"binary_data": True}}]}, "outputs[0].parameters"),
    ],
)
async def test_what_is_wrong_is_named(local: Local, changes: dict[str, Any], param: str) -> None:
    response = await infer(local(), {"inputs": [tensor("a")]} | changes)
    assert response.status_code == 422
    assert response.json()["error"]["param"] == param


async def test_unknown_models_and_versions(local: Local) -> None:
    app = local()
    for path in ("/v2/models/other/infer", "/v2/models/tiny/versions/2/infer"):
        assert (await infer(app, {"inputs": [tensor("a")]}, path)).status_code == 404
    assert (await get(app, "/v2/models/other")).status_code == 404


async def test_the_key_is_asked_for(local: Local) -> None:
    app = local(api_key="secret")
    assert (await infer(app, {"inputs": [tensor("a")]})).status_code == 401
    assert (await get(app, "/v2/models/tiny")).status_code == 401
    assert (await get(app, "/v2/health/ready")).status_code == 200


async def test_it_is_counted_under_one_name(local: Local) -> None:
    app = local()
    await infer(app, {"inputs": [tensor("a")]})
    await infer(app, {"inputs": [tensor("a")]}, "/v2/models/other/infer")
    for status in ("200", "404"):
        assert app.sample("requests_total", endpoint="/v2/models/{model}/infer", status=status) == 1
