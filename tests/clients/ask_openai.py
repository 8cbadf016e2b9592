"""Run by test_openai.py in an environment with `openai`: asks the server at argv[1], prints JSON."""

import json
import sys

from openai import BadRequestError, NotFoundError, OpenAI, UnprocessableEntityError

client = OpenAI(base_url=f"{sys.argv[1]}/v1", api_key=sys.argv[2], max_retries=0)
model = client.models.list().data[0].id
found = {"models": [one.model_dump() for one in client.models.list().data]}
found["retrieved"] = client.models.retrieve(model).id
PROMPT = "Thank you very"


def complete(**options):
    return client.completions.create(model=model, **({"prompt": PROMPT, "max_tokens": 6} | options))


found["greedy"] = complete(temperature=0, logprobs=1).model_dump()
found["seeded"] = [[c.text for c in complete(n=3, seed=7).choices] for _ in range(2)]
found["echoed"] = complete(prompt="Thank you very much.", echo=True, max_tokens=0, logprobs=1).model_dump()
found["streamed"] = "".join(chunk.choices[0].text for chunk in complete(seed=7, stream=True) if chunk.choices)
found["whole"] = complete(seed=7).choices[0].text
for name, kind, options in (
    ("suffix", (BadRequestError, UnprocessableEntityError), {"suffix": "x"}),
    ("model", NotFoundError, {"model": "other"}),
):
    try:
        complete(**options) if name != "model" else client.completions.create(prompt="a", **options)
    except kind as error:
        found[name] = {"status": error.status_code, "param": error.param, "code": error.code}
print(json.dumps(found))
