"""`Client` and `AsyncClient`: the same calls, sync and async."""

import asyncio
import time
from collections.abc import Iterable
from typing import Any, Literal, Self

import httpx

from service.client.requests import (
    ClientBase,
    Regions,
    Texts,
    listed,
    predicted,
    scored,
    scoring,
)
from service.contract.answers import PredictResult, ScoreResult
from service.contract.model_card import ModelCard


class Client(ClientBase[httpx.Client, httpx.BaseTransport]):
    """Asks a server, and waits for the answer. Threads may share it.

    Args:
        url: where the server is.
        api_key: sent as `Authorization: Bearer`.
        model: name of the model to ask; None asks the server's first.
        mode: ``exact`` or ``fast``; None leaves it to the server.
        session: any name for the source of the requests (a user, a document), unless a call names another:
            of several replicas, one answers all requests of a session, and keeps its state of their texts.
        timeout: seconds without progress after which a request is given up.
        retries: how often to ask again, and when.
        batch_size: texts in one request at most.
        transport: another way to the server than the network; for tests.
    """

    def _open(self, **settings: Any) -> httpx.Client:
        return httpx.Client(**settings)

    def predict(
        self,
        inputs: Texts,
        *,
        k: int = 10,
        prefix: str | None = None,
        ignore_case: bool = False,
        words_only: bool = False,
        exclude: Iterable[str] = (),
        pretokenized: bool = False,
        session: str | None = None,
    ) -> list[PredictResult]:
        """The `k` most probable next words after each text, best first.

        Args:
            inputs: one text or several; "" is the start of a sentence.
            k: how many words.
            prefix: what is typed since the last space; its last word is completed, and each answered word
                has the `completion` that replaces all of it.
            ignore_case: whether words may begin with the prefix in another case.
            words_only: only words that have a letter or digit: no marks, no `</s>`.
            exclude: words that are not answered.
            pretokenized: whether the texts are the model's own tokens between spaces.
            session: whose request it is; None: the client's.

        Raises:
            ValueError: `session` cannot stand in a header.
            ServerError, ConnectionFailed: see the module.
        """
        requests = self._requests(
            "/v1/predict",
            inputs,
            session,
            k=k,
            prefix=prefix,
            ignore_case=ignore_case,
            words_only=words_only,
            exclude=list(exclude),
            pretokenized=pretokenized,
        )
        return [one for request in requests for one in predicted(self._send(request))]

    def score(
        self,
        inputs: Texts,
        *,
        context: Texts = "",
        end_of_sentence: bool = True,
        per_word: bool = True,
        group: Literal["token", "space"] = "token",
        regions: Regions | None = None,
        unknown: Literal["spelled", "class"] | None = None,
        unknown_penalty: float | None = None,
        lines: bool = False,
        ignore_case: bool = False,
        pretokenized: bool = False,
        session: str | None = None,
    ) -> list[ScoreResult]:
        """How probable each text is, in natural logarithms.

        Args:
            inputs: one text or several.
            context: what they all follow, or a list of what each follows; read, not scored.
            end_of_sentence: whether `</s>` is scored after each.
            per_word: whether the results list their words.
            group: what these are: tokens, or words between white space.
            regions: the places that they are instead; a list for one text, a list of such lists for several.
            unknown: what unknown words cost; None leaves it to the server.
            unknown_penalty: nats that are subtracted from the class of each unknown word.
            lines: whether each line of a text is a sentence of its own.
            ignore_case: whether a word's probability is that of its case variants together.
            pretokenized: whether the texts are the model's own tokens between spaces.
            session: whose request it is; None: the client's.

        Raises:
            ValueError: `session` cannot stand in a header; `context` or `regions` has another length than
                `inputs`.
            ServerError, ConnectionFailed: see the module.
        """
        requests = self._requests(
            "/v1/score",
            inputs,
            session,
            end_of_sentence=end_of_sentence,
            per_word=per_word,
            pretokenized=pretokenized,
            **scoring(inputs, context, regions, group, unknown, unknown_penalty, lines, ignore_case),
        )
        return [one for request in requests for one in scored(self._send(request))]

    def models(self) -> list[ModelCard]:
        """The served models. Raises as `predict`."""
        return listed(self._send(self._http.build_request("GET", "/v1/models")))

    def _send(self, request: httpx.Request) -> bytes:
        attempt = 1
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = self._http.send(request)
            except httpx.TransportError as error:
                outcome = error
            wait = self._wait(attempt, outcome)
            if wait is None:
                return self._content(outcome)
            time.sleep(wait)
            attempt += 1

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(ClientBase[httpx.AsyncClient, httpx.AsyncBaseTransport]):
    """`Client` for asyncio: the same arguments, methods, results and errors."""

    def _open(self, **settings: Any) -> httpx.AsyncClient:
        return httpx.AsyncClient(**settings)

    async def predict(
        self,
        inputs: Texts,
        *,
        k: int = 10,
        prefix: str | None = None,
        ignore_case: bool = False,
        words_only: bool = False,
        exclude: Iterable[str] = (),
        pretokenized: bool = False,
        session: str | None = None,
    ) -> list[PredictResult]:
        """See `Client.predict`."""
        requests = self._requests(
            "/v1/predict",
            inputs,
            session,
            k=k,
            prefix=prefix,
            ignore_case=ignore_case,
            words_only=words_only,
            exclude=list(exclude),
            pretokenized=pretokenized,
        )
        return [one for request in requests for one in predicted(await self._send(request))]

    async def score(
        self,
        inputs: Texts,
        *,
        context: Texts = "",
        end_of_sentence: bool = True,
        per_word: bool = True,
        group: Literal["token", "space"] = "token",
        regions: Regions | None = None,
        unknown: Literal["spelled", "class"] | None = None,
        unknown_penalty: float | None = None,
        lines: bool = False,
        ignore_case: bool = False,
        pretokenized: bool = False,
        session: str | None = None,
    ) -> list[ScoreResult]:
        """See `Client.score`."""
        requests = self._requests(
            "/v1/score",
            inputs,
            session,
            end_of_sentence=end_of_sentence,
            per_word=per_word,
            pretokenized=pretokenized,
            **scoring(inputs, context, regions, group, unknown, unknown_penalty, lines, ignore_case),
        )
        return [one for request in requests for one in scored(await self._send(request))]

    async def models(self) -> list[ModelCard]:
        """See `Client.models`."""
        return listed(await self._send(self._http.build_request("GET", "/v1/models")))

    async def _send(self, request: httpx.Request) -> bytes:
        attempt = 1
        while True:
            outcome: httpx.Response | httpx.TransportError
            try:
                outcome = await self._http.send(request)
            except httpx.TransportError as error:
                outcome = error
            wait = self._wait(attempt, outcome)
            if wait is None:
                return self._content(outcome)
            await asyncio.sleep(wait)
            attempt += 1

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
