"""A Python client: typed results, retries that honor `Retry-After`, sync and async.

    with Client("http://127.0.0.1:8080") as headfirst:
        headfirst.predict("Thank you very", k=3)[0].words[0].word
        headfirst.score(["Thank you very much.", "Thank you very munch."])

As over HTTP, one text or a list of texts gives a list of results in the same order; a list of any length is
sent in requests of at most `batch_size` texts. Errors:

* ClientError
  * ServerError       the server answered with an error; it has the fields of the error's one shape
  * ConnectionFailed  there was no answer

Needs httpx: ``pip install 'headfirst[client]'``.
"""

from service.client.clients import AsyncClient, Client
from service.client.requests import ClientError, ConnectionFailed, ServerError
from service.client.retries import Retries

__all__ = ["AsyncClient", "Client", "ClientError", "ConnectionFailed", "Retries", "ServerError"]
