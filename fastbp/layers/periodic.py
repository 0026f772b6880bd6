"""Embeddings of numbers: waves of learned frequencies."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, final

import numpy as np
import numpy.typing as npt

from fastbp.initializers import Initializer, RandomNormal
from fastbp.layers.base import Layer, Weight, check_training
from fastbp.spec import LayerSpec, Waves
from fastbp.util.arguments import count, flag, real
from fastbp.util.fields import set_fields
from fastbp.util.types import Array


@final
@dataclass(frozen=True)
class _Uniform:
    """Independent draws from U(-limit, limit), of any shape."""

    limit: float

    def __call__(self, rng: np.random.Generator, shape: tuple[int, ...], dtype: npt.DTypeLike) -> Array:
        return rng.uniform(-self.limit, self.limit, shape).astype(dtype, copy=False)


@final
@dataclass(frozen=True)
class PeriodicEmbedding(Layer):
    """Replaces columns of numbers by vectors, learned functions of each column alone that are made of waves.

    ::

        c_h = cos(2 pi x w_h + b_h)        a_o = sum_h c_h V_ho + u_o
        A = [other columns, (a_1, …, x) of column c1, (a_1, …, x) of column c2, …]        columns in ascending order
        without phases: cos(2 pi x w_h), then sin(2 pi x w_h)

    Parameters
    ----------
    outputs : int, optional
        Numbers that the waves of a column become.
    frequencies : int, optional
        Frequencies of a column.
    columns : iterable of int, optional
        The columns of the input that are embedded, counted from 0; all of them by default.
    phases : bool, optional
        Whether waves are cosines with phases that are learned, or cosines and sines of each frequency.
    keep_inputs : bool, optional
        Whether the column itself follows its outputs.
    relu : bool, optional
        Whether the outputs, but not the column, go through ReLU.
    frequency_scale : float, optional
        Standard deviation of the frequencies at the start. The most important number of this layer: for features of
        about unit variance, between 0.01 and 10.
    trainable, learning_rate_multiplier : optional
        As in `Dense`.

    Raises
    ------
    ValueError
        If a value is out of range, a column occurs twice, or there are fewer inputs than a column needs.
    TypeError
        If an argument has the wrong type.

    See Also
    --------
    ColumnEmbedding : Of categories.

    Notes
    -----
    Shapes: X (n, in); with k columns, the weights frequencies (k, frequencies), phases (k, frequencies), kernel
    (k, waves · outputs), wave by wave, and bias (k, outputs); A (n, in - k + k · (outputs + keep_inputs)). There are as
    many waves as frequencies, without phases twice as many. Frequencies start from N(0, frequency_scale²), phases from
    U(-pi, pi), kernel and bias from U(±1 / sqrt(waves)). Weight decay of kernels alone is that of the kernel.

    The defaults are RealMLP's, called PBLD there; ``PeriodicEmbedding(24, 48, phases=False, keep_inputs=False,
    relu=True, frequency_scale=0.01)`` is the PLR of Gorishniy et al. Neither Keras nor PyTorch has such a layer.

    References
    ----------
    Gorishniy, Rubachev and Babenko, "On embeddings for numerical features in tabular deep learning", 2022; Holzmüller,
    Grinsztajn and Steinwart, "Better by default: strong pre-tuned MLPs and boosted trees on tabular data", 2024.

    Examples
    --------
    >>> model = Sequential([PeriodicEmbedding(), Dense(1)], input_size=2)
    >>> [W.shape for W in model.get_weights()]
    [(2, 16), (2, 16), (2, 48), (2, 3), (8, 1), (1,)]
    >>> model.compile("adam", "mse")
    >>> history = model.fit([[0.1, 0.2], [0.3, 0.4]], [1.0, 2.0], epochs=2)
    """

    has_weights: ClassVar[bool] = True

    outputs: int = 3
    frequencies: int = 16
    columns: Iterable[int] | None = None
    phases: bool = field(default=True, kw_only=True)
    keep_inputs: bool = field(default=True, kw_only=True)
    relu: bool = field(default=False, kw_only=True)
    frequency_scale: float = field(default=0.1, kw_only=True)
    trainable: bool = field(default=True, kw_only=True)
    learning_rate_multiplier: float = field(default=1.0, kw_only=True)

    def __post_init__(self) -> None:
        columns = None
        if self.columns is not None and not isinstance(self.columns, Iterable):
            raise TypeError(f"columns must be numbers of columns, got {self.columns!r}: pass a list such as [0, 2]")
        if self.columns is not None:
            columns = tuple(sorted(count(column, "a column", 0) for column in self.columns))
            if not columns or len(set(columns)) < len(columns):
                raise ValueError(
                    f"columns must be one or more different columns, got {list(columns)}: pass None for all of them"
                )
        set_fields(
            self,
            outputs=count(self.outputs, "outputs"),
            frequencies=count(self.frequencies, "frequencies"),
            columns=columns,
            phases=flag(self.phases, "phases"),
            keep_inputs=flag(self.keep_inputs, "keep_inputs"),
            relu=flag(self.relu, "relu"),
            frequency_scale=real(
                self.frequency_scale, "frequency_scale", "at least 0 and finite", lambda v: 0 <= v < math.inf,
                "pass such a number",
            ),
        )  # fmt: skip
        check_training(self)

    def units_of(self, inputs: int | None) -> int | None:
        """The number of outputs for so many inputs; ValueError if a column is missing."""
        if inputs is None:
            return None
        own = self._columns(inputs)
        if own[-1] >= inputs:
            raise ValueError(
                f"a PeriodicEmbedding of column {own[-1]} needs at least {own[-1] + 1} inputs, got {inputs}: count "
                "columns from 0"
            )
        return inputs + len(own) * (self.outputs + self.keep_inputs - 1)

    def _columns(self, inputs: int) -> tuple[int, ...]:
        return tuple(range(inputs)) if self.columns is None else tuple(self.columns)

    def waves(self, units: int) -> Waves:
        """What the engine needs to know, from the number of outputs of the layer."""
        grown = self.outputs + self.keep_inputs
        columns = tuple(range(units // grown)) if self.columns is None else tuple(self.columns)
        return Waves(columns, self.frequencies, self.outputs, self.phases, self.keep_inputs, self.relu)

    def weights(self, inputs: int, units: int) -> list[Weight]:
        waves = self.waves(units)
        start = _Uniform(1 / math.sqrt(waves.waves))
        frequencies, phases = RandomNormal(0.0, self.frequency_scale), _Uniform(math.pi)
        own: dict[str, Initializer] = {"frequencies": frequencies, "phases": phases}
        return [Weight(name, shape, own.get(name, start)) for name, shape in waves.shapes.items()]

    def node(self, units: int) -> LayerSpec:
        return LayerSpec(
            units,
            kind="periodic",
            use_bias=False,
            waves=self.waves(units),
            multiplier=self.learning_rate_multiplier,
            trainable=self.trainable,
        )

    def label(self, activation: str) -> str:
        return f"PeriodicEmbedding({self.outputs}, {self.frequencies})"
