"""What workers know of a bundle."""

import json
import shutil
from pathlib import Path

import msgspec
import pytest

from models.bundle import Bundle, BundleError
from service.fleet.loading import load
from service.fleet.served import Served
from service.http.api.examples import describe
from service.link.announcement import Announcement
from service.processes.listening import listen
from service.settings.model_sources import ModelSource
from service.settings.settings import ConfigurationError, Settings
from tests.support.engines import FakeEngine, compute


def served(path: Path, copies: Path) -> Served:
    loaded = load(ModelSource("tiny", path), Settings(device="cpu"), describe, copies)
    engine = FakeEngine(lambda message: compute(loaded.bundle, message))
    engine.close()
    return Served(loaded.bundle, engine, loaded.card, loaded.examples, loaded.vocabulary)  # type: ignore[arg-type]


def test_a_worker_has_all_but_the_weights(bundle: Bundle, bundle_path: Path, tmp_path: Path) -> None:
    model = served(bundle_path, tmp_path)
    told = msgspec.msgpack.decode(msgspec.msgpack.encode(Announcement.of(model, 3)), type=Announcement)
    known = told.bundle()
    assert told.engine == 3
    assert told.model_card() == model.card
    assert (known.name, known.dtype, known.device) == (bundle.name, bundle.dtype, bundle.device)
    assert known.config == bundle.config
    text = "Thank you for the unheardof"
    assert known.vocabulary.tokenize(text) == bundle.vocabulary.tokenize(text)
    assert told.examples == model.examples
    assert set(told.examples) == {"/v1/predict", "/v1/score"}
    assert all(parameter.is_meta for parameter in known.model.parameters())


def test_a_bundle_that_was_changed(bundle_path: Path, tmp_path: Path) -> None:
    path, copies = tmp_path / "tiny", tmp_path / "copies"
    shutil.copytree(bundle_path, path)
    copies.mkdir()
    first, again = (Announcement.of(served(path, copies), number) for number in (1, 2))
    assert first.tokenizes_as(again)
    assert first.model_card().digest == again.model_card().digest
    tokenizer = json.loads((path / "tokenizer.json").read_text())
    (path / "tokenizer.json").write_text(json.dumps(tokenizer, indent=1))
    other = Announcement.of(served(path, copies), 3)
    assert not first.tokenizes_as(other)
    assert first.model_card().digest != other.model_card().digest
    # Whatever becomes of the bundle, workers read what the engine has.
    shutil.rmtree(path)
    assert first.bundle().config == other.bundle().config
    (Path(first.vocabulary) / "tokenizer.json").unlink()
    with pytest.raises(BundleError, match="No such file"):
        first.bundle()


def test_a_bundle_that_is_changed_while_it_is_loaded(
    bundle_path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "tiny"
    shutil.copytree(bundle_path, path)
    load_bundle = Bundle.load

    def and_change(*arguments: str) -> Bundle:
        bundle = load_bundle(*arguments)
        (path / "model.safetensors").touch()
        return bundle

    monkeypatch.setattr(Bundle, "load", and_change)
    with pytest.raises(BundleError, match="was changed while it was being loaded"):
        load(ModelSource("tiny", path), Settings(device="cpu"), describe)


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
