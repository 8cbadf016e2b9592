"""What workers know of a bundle."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from models.bundle import Bundle, BundleError
from service.listening import listen
from service.routes import predict, score
from service.routes.models import card
from service.schemas import ModelCard
from service.served_model import ServedModel
from service.settings import ConfigurationError


def test_a_worker_has_all_but_the_weights(bundle: Bundle) -> None:
    model = msgspec.msgpack.decode(msgspec.msgpack.encode(ServedModel.of(bundle)), type=ServedModel)
    known = model.bundle()
    assert ModelCard.model_validate_json(model.card) == card(bundle)
    assert (known.name, known.dtype, known.device) == (bundle.name, bundle.dtype, bundle.device)
    assert known.config == bundle.config
    text = "Thank you for the unheardof"
    assert known.vocabulary.tokenize(text) == bundle.vocabulary.tokenize(text)
    assert model.examples == {predict.PATH: predict.example(bundle), score.PATH: score.example(bundle)}
    assert all(parameter.is_meta for parameter in known.model.parameters())


def test_a_bundle_that_was_changed(bundle_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "tiny"
    shutil.copytree(bundle_path, path)
    model = ServedModel.of(Bundle.load(path, "cpu"))
    assert model.same(ServedModel.of(Bundle.load(path, "cpu")))
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    (path / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1))
    assert not model.same(ServedModel.of(Bundle.load(path, "cpu")))
    with pytest.raises(BundleError, match=r"tokenizer\.json changed"):
        model.bundle()
    (path / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match="No such file"):
        model.bundle()


def test_workers_share_a_port_and_nobody_else() -> None:
    sockets = listen("127.0.0.1", 0, 3)
    try:
        (port,) = {each.getsockname()[1] for each in sockets}
        with pytest.raises(ConfigurationError, match="in use"):
            listen("127.0.0.1", port, 2)
    finally:
        for each in sockets:
            each.close()
    for each in listen("127.0.0.1", port, 1):
        each.close()
