"""Exchange with other tools: ONNX, PyTorch, Keras, scikit-learn, plain NumPy.

Other libraries are imported only when a function is called. `docs/exchange.md` says what each format keeps and loses.
The only format that keeps everything is fastbp's own, `Sequential.save`.
"""

from fastbp.exchange.keras_models import to_keras
from fastbp.exchange.keras_reading import from_keras
from fastbp.exchange.layer_weights import ExchangeError
from fastbp.exchange.numpy_module import to_numpy
from fastbp.exchange.onnx_graph import to_onnx
from fastbp.exchange.sklearn_mlp import from_sklearn, to_sklearn
from fastbp.exchange.torch_modules import load_state_dict, state_dict, to_torch
from fastbp.exchange.torch_reading import from_torch

__all__ = [
    "ExchangeError",
    "from_keras",
    "from_sklearn",
    "from_torch",
    "load_state_dict",
    "state_dict",
    "to_keras",
    "to_numpy",
    "to_onnx",
    "to_sklearn",
    "to_torch",
]
