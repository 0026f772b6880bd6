"""ONNX: files that onnx.checker accepts and onnxruntime runs, with every layer and activation in both dtypes."""


import numpy as np
import pytest

import fastbp
from fastbp import CustomActivation, Dense, Sequential, exchange
from fastbp.exchange import ExchangeError, onnx_graph
from tests.exchange.cases import CASES, INPUTS, assert_close, make, rows

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

# Extra errors of onnxruntime's functions in float32, in u: its sigmoid, tanh and erf are rational approximations with
# an absolute error of a few u, which functions built on them inherit; elu is exp(z) - 1, and gelu z / 2 (1 + erf(z /
# sqrt 2)), which cancel near and below 0. In float64 they are composed of functions accurate to about 1 u.
EXTRA = {
    "float32": dict.fromkeys(("sigmoid", "tanh", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish", "softplus"), 4.0),
    "float64": {},
}


def run(path, X):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(["output"], {"input": X})
    return outputs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_outputs_match_the_model(case, dtype, tmp_path):
    model, X = make(case, dtype), rows(dtype)
    exchange.to_onnx(model, tmp_path / "model.onnx")
    outputs = run(tmp_path / "model.onnx", X)
    assert outputs.dtype == dtype
    assert_close(model, X, outputs, dtype, EXTRA[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_rows_is_accepted(dtype, tmp_path):
    model = make("deep", dtype)
    exchange.to_onnx(model, tmp_path / "model.onnx")
    for n in (0, 1, 17):
        X = rows(dtype, n)
        assert run(tmp_path / "model.onnx", X).shape == (n, 5)
        if n:
            assert_close(model, X, run(tmp_path / "model.onnx", X), dtype, EXTRA[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in fastbp.activations.NAMES if name != "softmax"])
def test_activation_tails_are_finite_and_accurate(name, dtype, tmp_path):
    model = Sequential([fastbp.Activation(name), Dense(1, use_bias=False)], input_size=1, dtype=dtype)
    model.set_weights([[[1.0]]])
    X = np.array([[-1e4], [-800.0], [-90.0], [-30.0], [-1e-3], [0.0], [1e-3], [30.0], [90.0], [800.0], [1e4]], dtype)
    exchange.to_onnx(model, tmp_path / "model.onnx")
    outputs, expected = run(tmp_path / "model.onnx", X), model.predict(X)
    # their sigmoid has an absolute, not a relative, error of a few u, and may be multiplied by z
    limit = np.finfo(dtype).eps * (8 * np.abs(expected) + 2 * np.clip(np.abs(X), 1, 100))
    assert np.all(np.abs(outputs - expected) <= limit)


def test_graph_names_and_metadata(tmp_path):
    model = make("projection")
    model.metadata = {"author": "mine, ünïcode"}
    proto = exchange.to_onnx(model, tmp_path / "model.onnx")
    assert onnx.load(tmp_path / "model.onnx") == proto
    assert (proto.producer_name, proto.producer_version) == ("fastbp", fastbp.__version__)
    assert {entry.key: entry.value for entry in proto.metadata_props} == {
        "fastbp.version": fastbp.__version__,
        "author": "mine, ünïcode",
    }
    assert [(entry.domain, entry.version) for entry in proto.opset_import] == [("", 18)]
    assert proto.ir_version == 8
    graph = proto.graph
    names = ["0.0.kernel", "0.0.bias", "0.projection", "1.0.kernel", "1.0.bias", "1.projection", "2.kernel", "2.bias"]
    assert [tensor.name for tensor in graph.initializer] == names
    for tensor, W in zip(graph.initializer, model.get_weights(), strict=True):
        np.testing.assert_array_equal(onnx.numpy_helper.to_array(tensor), W)
    for value, name, width in ((graph.input[0], "input", INPUTS), (graph.output[0], "output", 2)):
        assert value.name == name
        batch, features = value.type.tensor_type.shape.dim
        assert (batch.dim_param, features.dim_value) == ("batch", width)
    assert len({node.name for node in graph.node}) == len(graph.node)


def test_without_a_path_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert exchange.to_onnx(make("deep")).graph.node
    assert not list(tmp_path.iterdir())


def test_large_weights_go_to_an_external_data_file(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "LARGEST", 1000)
    model, X = make("deep"), rows()
    for _ in range(2):  # the second file replaces the first
        exchange.to_onnx(model, tmp_path / "model.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert_close(model, X, run(tmp_path / "model.onnx", X), "float32", EXTRA["float32"])
    assert (tmp_path / "model.onnx.data").stat().st_size < 2 * sum(W.nbytes for W in model.get_weights()) + 8192


def test_failed_export_keeps_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "model.onnx"
    exchange.to_onnx(make("deep"), path)
    before = path.read_bytes()

    def fail(*arguments, **options):
        raise onnx.checker.ValidationError("wrong")

    monkeypatch.setattr(onnx.checker, "check_model", fail)
    with pytest.raises(onnx.checker.ValidationError):
        exchange.to_onnx(make("Residual"), path)
    assert [p.name for p in tmp_path.iterdir()] == ["model.onnx"]
    assert path.read_bytes() == before


def square():
    return CustomActivation(lambda z: z * z, lambda z: 2 * z, name="square")


REFUSED = {
    "custom activation": (
        lambda: Sequential([Dense(4), Dense(3, square())], input_size=2), ExchangeError,
        r"ONNX does not support custom functions, but layer 1, Dense\(3\) has the CustomActivation 'square': use one",
    ),
    "nested custom activation": (
        lambda: Sequential([Dense(4), fastbp.Residual([fastbp.Activation(square())])], input_size=2), ExchangeError,
        r"layer 1.0, Activation\(4\) has the CustomActivation",
    ),
    "no weights": (lambda: Sequential([Dense(4)]), ValueError, "to_onnx needs the weights.*give Sequential"),
    "not a model": (lambda: [Dense(4)], TypeError, "takes a fastbp.Sequential, got list"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_invalid_exports_are_refused(case, tmp_path):
    model, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        exchange.to_onnx(model(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_unsupported_layer_is_named(monkeypatch):
    monkeypatch.delitem(onnx_graph.LAYERS, fastbp.LayerNorm)
    with pytest.raises(
        ExchangeError, match=r"ONNX must be given .*\(Activation, .*got layer 10, LayerNorm\(10\)"
    ) as caught:
        exchange.to_onnx(Sequential([*[fastbp.Activation("relu")] * 9, Dense(10), fastbp.LayerNorm()], input_size=2))
    assert "fastbp's own format" in str(caught.value)


def test_missing_onnx_names_the_pip_command(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r'needs onnx, which is missing: pip install "fastbp\[onnx\]"'):
        exchange.to_onnx(make("deep"))
