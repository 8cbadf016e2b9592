"""Run by the interpreter of Ray's environment: a small Ray with the application, until standard input ends.

    PYTHON -m tests.deploy.ray_server PORT '{"model": ...}'

Says on standard output that it is ready.
"""

from __future__ import annotations

import json
import sys

import ray
from ray import serve

from deploy.ray.serve_app import app

if __name__ == "__main__":
    port, arguments = int(sys.argv[1]), json.loads(sys.argv[2])
    ray.init(num_cpus=2, include_dashboard=False, object_store_memory=100 << 20, log_to_driver=True)
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(app(arguments), route_prefix="/")
    print("ready", flush=True)
    sys.stdin.read()
    serve.shutdown()
    ray.shutdown()
