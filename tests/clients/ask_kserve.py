"""Run by test_kserve.py in an environment with `tritonclient`: asks the server at argv[1], prints JSON."""

import json
import sys

import numpy as np
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput

client = InferenceServerClient(sys.argv[1])
found = {
    "live": client.is_server_live(),
    "ready": client.is_server_ready(),
    "model_ready": client.is_model_ready("default"),
    "metadata": client.get_model_metadata("default"),
}
text = InferInput("text", [2], "BYTES")
text.set_data_from_numpy(np.array(["Thank you very", "Once upon a"], dtype=object), binary_data=False)
for task, names in (("predict", ["words", "logprobs"]), ("score", ["logprob", "word_count"])):
    answer = client.infer(
        "default",
        [text],
        outputs=[InferRequestedOutput(name, binary_data=False) for name in names],
        parameters={"task": task} | ({"k": 3} if task == "predict" else {}),
    )
    found[task] = {name: answer.as_numpy(name).astype(str).tolist() for name in names}
print(json.dumps(found))
