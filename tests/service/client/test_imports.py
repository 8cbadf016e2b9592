"""What importing the client loads, in an interpreter of its own: shapes and httpx, no model, no server."""

import json
import subprocess
import sys

SHOW = "import json, sys; import service.client; print(json.dumps(sorted(sys.modules)))"


def test_the_client_loads_neither_torch_nor_models_nor_the_server() -> None:
    done = subprocess.run([sys.executable, "-c", SHOW], capture_output=True, text=True, check=True)
    loaded = json.loads(done.stdout)
    ours = {name for name in loaded if name.split(".")[0] == "service"}
    assert {"httpx", "pydantic"} <= set(loaded)
    assert not {"torch", "numpy", "models", "fastapi", "uvicorn"} & set(loaded)
    rooms = {".".join(name.split(".")[:3]) for name in ours if name.startswith("service.http.")}
    assert rooms == {"service.http.schemas"}
    assert {name.split(".")[1] for name in ours if "." in name} <= {"client", "contract", "http"}
