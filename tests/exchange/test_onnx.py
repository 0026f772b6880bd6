"""ONNX: files that onnx.checker accepts and onnxruntime runs, with every layer and activation in both types."""


import numpy as np
import pytest

import fastbp
from fastbp import CustomActivation, Dense, Sequential, exchange
from fastbp.exchange import ExchangeError, onnx_graph
from tests.exchange.cases import CASES, INPUTS, assert_alike, make, rows

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

# Further errors of onnxruntime's functions in float32, in u: its sigmoid, tanh and erf are rational functions, made for
# an absolute error of some u, which what is made of them inherits; elu is exp(z) - 1, and gelu z / 2 (1 + erf(z / sqrt
# 2)), which cancel near 0 and below it. In float64 they are composed of what it computes to 1 u or so.
OWN = {
    "float32": dict.fromkeys(("sigmoid", "tanh", "elu", "selu", "gelu", "gelu_tanh", "silu", "mish", "softplus"), 4.0),
    "float64": {},
}


def run(path, X):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (outputs,) = session.run(["output"], {"input": X})
    return outputs


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("case", CASES)
def test_onnxruntime_computes_what_the_model_does(case, dtype, tmp_path):
    model, X = make(case, dtype), rows(dtype)
    exchange.to_onnx(model, tmp_path / "model.onnx")
    outputs = run(tmp_path / "model.onnx", X)
    assert outputs.dtype == dtype
    assert_alike(model, X, outputs, dtype, OWN[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_any_number_of_rows_may_come(dtype, tmp_path):
    model = make("deep", dtype)
    exchange.to_onnx(model, tmp_path / "model.onnx")
    for n in (0, 1, 17):
        X = rows(dtype, n)
        assert run(tmp_path / "model.onnx", X).shape == (n, 5)
        if n:
            assert_alike(model, X, run(tmp_path / "model.onnx", X), dtype, OWN[dtype])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", [name for name in fastbp.activations.NAMES if name != "softmax"])
def test_the_ends_of_curves_are_finite_and_right(name, dtype, tmp_path):
    model = Sequential([fastbp.Activation(name), Dense(1, use_bias=False)], input_size=1, dtype=dtype)
    model.set_weights([[[1.0]]])
    X = np.array([[-1e4], [-800.0], [-90.0], [-30.0], [-1e-3], [0.0], [1e-3], [30.0], [90.0], [800.0], [1e4]], dtype)
    exchange.to_onnx(model, tmp_path / "model.onnx")
    outputs, expected = run(tmp_path / "model.onnx", X), model.predict(X)
    # their sigmoid is good to some u, not of itself, and may be multiplied by z
    limit = np.finfo(dtype).eps * (8 * np.abs(expected) + 2 * np.clip(np.abs(X), 1, 100))
    assert np.all(np.abs(outputs - expected) <= limit)


def test_what_a_graph_says_of_itself(tmp_path):
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


def test_what_is_too_large_for_a_message_lies_beside_it(tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_graph, "LARGEST", 1000)
    model, X = make("deep"), rows()
    for _ in range(2):  # the second file replaces the first
        exchange.to_onnx(model, tmp_path / "model.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.onnx", "model.onnx.data"]
    assert_alike(model, X, run(tmp_path / "model.onnx", X), "float32", OWN["float32"])
    assert (tmp_path / "model.onnx.data").stat().st_size < 2 * sum(W.nbytes for W in model.get_weights()) + 8192


def test_a_failure_leaves_the_old_file(tmp_path, monkeypatch):
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


def own():
    return CustomActivation(lambda z: z * z, lambda z: 2 * z, name="square")


REFUSED = {
    "a custom activation": (
        lambda: Sequential([Dense(4), Dense(3, own())], input_size=2), ExchangeError,
        r"ONNX does not support custom functions, but layer 1, Dense\(3\) has the CustomActivation 'square': use one",
    ),
    "one within": (
        lambda: Sequential([Dense(4), fastbp.Residual([fastbp.Activation(own())])], input_size=2), ExchangeError,
        r"layer 1.0, Activation\(4\) has the CustomActivation",
    ),
    "no weights yet": (lambda: Sequential([Dense(4)]), ValueError, "to_onnx needs the weights.*give Sequential"),
    "no model": (lambda: [Dense(4)], TypeError, "takes a fastbp.Sequential, got list"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_written_is_refused(case, tmp_path):
    model, error, text = REFUSED[case]
    with pytest.raises(error, match=text):
        exchange.to_onnx(model(), tmp_path / "model.onnx")
    assert not list(tmp_path.iterdir())


def test_a_layer_that_the_table_lacks_is_named(monkeypatch):
    monkeypatch.delitem(onnx_graph.LAYERS, fastbp.LayerNorm)
    with pytest.raises(
        ExchangeError, match=r"ONNX must be given .*\(Activation, .*got layer 10, LayerNorm\(10\)"
    ) as caught:
        exchange.to_onnx(Sequential([*[fastbp.Activation("relu")] * 9, Dense(10), fastbp.LayerNorm()], input_size=2))
    assert "fastbp's own format" in str(caught.value)


def test_without_onnx_the_message_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r'needs onnx, which is missing: pip install "fastbp\[onnx\]"'):
        exchange.to_onnx(make("deep"))
