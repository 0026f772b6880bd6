"""The losses over one panel: a line per output, a lane per row of the batch. The operands are those of all of them:

    z           n lines of the last layer: activations, or logits where the loss is fused with the last activation
    t           lines of targets: n, unless the loss says otherwise
    d           n lines that become weights * dloss/dz; on entry, for the first CATEGORICAL, `softmax`'s probabilities
    weights     a line: what the deltas of each row are multiplied by
    losses      a line that becomes the rows' losses
    extra       a line: for the first CATEGORICAL, `softmax`'s log-sums of the rows
    parameters  scalars: how many there are, then those of the loss

A loss is a pair of functions of the panel: `prepare` gives what all lines need to know, `line` the value and the slope
of one line, which the loop of `loss` sums up and stores. Every loss is finite wherever its exact value is. The formulas
are easiest to read in the twins.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from llvmlite import ir

from fastbp.isa.emitters.activations import logistic
from fastbp.isa.emitters.vocabulary import transcendental
from fastbp.isa.emitters.vocabulary.lines import I64, Lines, at_line, define, loop
from fastbp.isa.twins.losses import LN2, TINY


class Panel(NamedTuple):
    """The operands of a loss."""

    x: Lines
    n: Any
    z: Any
    t: Any
    d: Any
    extra: Any
    parameters: Any

    def line(self, operand, i):
        return self.x.load(operand, at_line(self.x, i))

    def parameter(self, i):
        """A parameter in every lane; `i` from 0."""
        place = self.x.b.add(i, I64(1)) if isinstance(i, ir.Value) else 1 + i
        return self.x.splat(self.x.load_scalar(self.parameters, place))

    def whole(self, place: int):
        """A scalar that holds a whole number, as an integer."""
        return self.x.b.fptosi(self.x.load_scalar(self.parameters, place), I64)

    def share(self):
        """1/n."""
        x = self.x
        return x.splat(x.b.fdiv(ir.Constant(x.scalar, 1.0), x.b.sitofp(self.n, x.scalar)))

    def sum_of(self, term: Callable):
        """The sum of `term(i)` over the lines."""
        (total,) = loop(self.x.b, self.n, [self.x.const(0.0)], lambda i, sums: [self.x.b.fadd(sums[0], term(i))])
        return total


def loss(module: ir.Module, bits: int, table, name: str) -> ir.Function:
    """The rows' losses and their derivatives; the operands are explained above."""
    prepare, of_line = LOSSES[name]

    def body(builder, n, z, t, d, weights, losses, extra, parameters):
        x, b = Lines(builder, bits), builder
        panel = Panel(x, n, z, t, d, extra, parameters)
        factor, known = x.load(weights), prepare(panel)

        def one(i, sums):
            value, slope = of_line(panel, i, known)
            x.store(b.fmul(slope, factor), d, at_line(x, i))
            return [b.fadd(sums[0], value)]

        (total,) = loop(b, n, [x.const(0.0)], one)
        x.store(total, losses)

    return define(module, bits, "loss", body, name)


def _elementwise(element: Callable, n_parameters: int = 0) -> tuple[Callable, Callable]:
    """A mean over elements: `element(x, z, t, *parameters)` is the value and the slope of one."""

    def prepare(panel: Panel):
        return panel.share(), [panel.parameter(i) for i in range(n_parameters)]

    def line(panel: Panel, i, known):
        share, parameters = known
        value, slope = element(panel.x, panel.line(panel.z, i), panel.line(panel.t, i), *parameters)
        return panel.x.b.fmul(value, share), panel.x.b.fmul(slope, share)

    return prepare, line


# -- of one element --------------------------------------------------------------------------------------------------
def _mse(x: Lines, a, t):
    """e^2 and 2 e, e = a - t."""
    e = x.b.fsub(a, t)
    return x.b.fmul(e, e), x.b.fadd(e, e)


def _mae(x: Lines, a, t):
    """|e| and its sign, which is 0 at 0."""
    e = x.b.fsub(a, t)
    return transcendental.magnitude(x, e), _sign(x, e)


def _huber(x: Lines, a, t, delta):
    """c (e - c/2) and c, where c is e kept within delta: e^2 / 2, or delta (|e| - delta / 2)."""
    e = x.b.fsub(a, t)
    c = x.minimum(delta, x.maximum(x.neg(delta), e))
    return x.b.fmul(c, x.fma(c, x.const(-0.5), e)), c


def _log_cosh(x: Lines, a, t):
    """log(cosh(e)) and tanh(e). With E = exp(-|e|) and m = E - 1 the value is log(1 + m^2 / 2E), which keeps the bits
    of small errors, or |e| - log 2 + log(1 + E^2), which does not overflow."""
    b, one = x.b, x.const(1.0)
    e = b.fsub(a, t)
    size = transcendental.magnitude(x, e)
    small = b.fcmp_ordered("<", size, one)
    m = transcendental.expm1_bounded(x, x.neg(size))
    E = b.fadd(m, one)
    rest = transcendental.log1p(x, b.select(small, b.fdiv(b.fmul(m, m), b.fadd(E, E)), b.fmul(E, E)))
    return b.fadd(b.select(small, x.const(0.0), b.fsub(size, x.const(LN2))), rest), transcendental.tanh(x, e)


def _poisson(x: Lines, a, t, epsilon):
    """a - t log(a + epsilon) and 1 - t / (a + epsilon); a is the rate."""
    rate = x.b.fadd(a, epsilon)
    return x.fma(x.neg(t), transcendental.log(x, rate), a), x.b.fsub(x.const(1.0), x.b.fdiv(t, rate))


def _poisson_log(x: Lines, z, t):
    """exp(z) - t z and exp(z) - t; z is the logarithm of the rate."""
    rate = transcendental.exp(x, z)
    return x.fma(x.neg(t), z, rate), x.b.fsub(rate, t)


def _hinge(x: Lines, a, t):
    """max(1 - t a, 0) and -t where that is positive; t is 1 or -1."""
    zero, margin = x.const(0.0), x.fma(x.neg(t), a, x.const(1.0))
    return x.maximum(zero, margin), x.b.select(x.b.fcmp_ordered(">", margin, zero), x.neg(t), zero)


def _binary_value(x: Lines, z, t):
    """max(z, 0) - z t + log(1 + exp(-|z|))."""
    soft = transcendental.log1p(x, transcendental.exp_bounded(x, x.neg(transcendental.magnitude(x, z))))
    return x.b.fadd(x.fma(x.neg(z), t, x.maximum(x.const(0.0), z)), soft)


def _binary_cross_entropy(x: Lines, z, t, smoothing):
    """The cross-entropy of sigmoid(z), and sigmoid(z) - t; t is first moved towards 1/2."""
    t = _smooth(x, t, smoothing, x.b.fmul(smoothing, x.const(0.5)))
    return _binary_value(x, z, t), x.b.fsub(transcendental.sigmoid(x, z), t)


def _binary_focal(x: Lines, z, t, gamma, smoothing, positive, negative):
    """w q^gamma B, B the binary cross-entropy, q = t (1 - p) + (1 - t) p how likely it is to be wrong, p = sigmoid(z);
    slope w q^gamma (gamma (1 - 2t) p (1 - p) / q B + p - t). Nothing is subtracted that would cancel."""
    b, one = x.b, x.const(1.0)
    t = _smooth(x, t, smoothing, b.fmul(smoothing, x.const(0.5)))
    p, rest = logistic(x, z)
    other = b.fmul(b.fsub(one, t), p)
    q = x.maximum(x.const(TINY[x.bits]), x.fma(t, rest, other))
    weight = b.fmul(x.fma(t, b.fsub(positive, negative), negative), _power(x, q, gamma))
    value = _binary_value(x, z, t)
    turn = b.fmul(b.fmul(gamma, x.fma(t, x.const(-2.0), one)), b.fdiv(b.fmul(p, rest), q))
    return b.fmul(weight, value), b.fmul(weight, x.fma(turn, value, x.fma(x.neg(t), rest, other)))


def _sign(x: Lines, e):
    size = transcendental.with_sign_of(x, x.const(1.0), e)
    return x.b.select(x.b.fcmp_ordered("==", e, x.const(0.0)), x.const(0.0), size)


def _smooth(x: Lines, t, smoothing, floor):
    """(1 - smoothing) t + floor: t itself, to the bit, where smoothing is 0."""
    return x.fma(t, x.b.fsub(x.const(1.0), smoothing), floor)


def _power(x: Lines, q, exponent):
    """q^exponent for 0 < q <= 1 and an exponent that is not negative."""
    return transcendental.exp_bounded(x, x.b.fmul(exponent, transcendental.log(x, q)))


# -- of lines that stand for something else ---------------------------------------------------------------------------
def _quantile_line(panel: Panel, i, share):
    """tau e or (tau - 1) e, whichever is positive, e = t - a: line i is quantile i mod q of target i / q."""
    x, b = panel.x, panel.x.b
    quantiles = panel.whole(0)
    target = b.udiv(i, quantiles)
    tau = panel.parameter(b.sub(i, b.mul(target, quantiles)))
    e, beyond = b.fsub(panel.line(panel.t, target), panel.line(panel.z, i)), b.fsub(tau, x.const(1.0))
    below = b.fcmp_ordered("<", e, x.const(0.0))
    value = b.fmul(e, b.select(below, beyond, tau))
    slope = b.select(b.fcmp_ordered("==", e, x.const(0.0)), x.const(0.0), b.select(below, x.neg(beyond), x.neg(tau)))
    return b.fmul(value, share), b.fmul(slope, share)


def _gaussian_line(panel: Panel, i, share):
    """(s + (a - t)^2 exp(-s)) / 2 + constant: lines of means a, then as many of log-variances s, kept from `low` up.

    Both lines of a pair need the same exponential, and both compute it. As in PyTorch the slope by s passes where s is
    below `low`: a variance that became too small could never grow again.
    """
    x, b = panel.x, panel.x.b
    half = b.lshr(panel.n, I64(1))
    is_mean = b.icmp_signed("<", i, half)
    target = b.select(is_mean, i, b.sub(i, half))
    s = x.maximum(panel.parameter(0), panel.line(panel.z, b.add(target, half)))
    narrow = transcendental.exp_bounded(x, b.fmul(s, x.const(-0.5)))
    r = b.fmul(b.fsub(panel.line(panel.z, target), panel.line(panel.t, target)), narrow)
    value = x.fma(x.fma(r, r, s), x.const(0.5), panel.parameter(1))
    by_s = x.fma(b.fmul(r, r), x.const(-0.5), x.const(0.5))
    share = b.fadd(share, share)  # a mean over n / 2 targets
    return (b.fmul(b.select(is_mean, value, x.const(0.0)), share),
            b.fmul(b.select(is_mean, b.fmul(r, narrow), by_s), share))


# -- of a whole row ---------------------------------------------------------------------------------------------------
def _categorical_hinge_known(panel: Panel):
    """max(0, 1 + max (1 - t) a - sum t a) of every row, and which line holds the maximum: the first of them.

    A NaN is seen in the sum, to which every a belongs."""
    x, b = panel.x, panel.x.b

    def line(i, values):
        top, place, right = values
        a, t = panel.line(panel.z, i), panel.line(panel.t, i)
        wrong = b.fmul(b.fsub(x.const(1.0), t), a)
        larger = b.fcmp_ordered(">", wrong, top)
        index = x.splat(b.sitofp(i, x.scalar))
        return [b.select(larger, wrong, top), b.select(larger, index, place), x.fma(t, a, right)]

    top, place, right = loop(b, panel.n, [x.const(-transcendental.LARGEST[x.bits]), x.const(0.0), x.const(0.0)], line)
    return x.maximum(x.const(0.0), b.fadd(b.fsub(top, right), x.const(1.0))), place


def _categorical_hinge_line(panel: Panel, i, known):
    x, b = panel.x, panel.x.b
    loss, place = known
    t, zero = panel.line(panel.t, i), x.const(0.0)
    here = b.fcmp_ordered("==", place, x.splat(b.sitofp(i, x.scalar)))
    slope = b.fsub(b.select(here, b.fsub(x.const(1.0), t), zero), t)
    first = b.icmp_signed("==", i, I64(0))
    return b.select(first, loss, zero), b.select(b.fcmp_ordered(">", loss, zero), slope, zero)


class _Smoothed(NamedTuple):
    """Targets t <- (1 - smoothing) t + smoothing / n."""

    smoothing: Any
    floor: Any

    @staticmethod
    def of(panel: Panel, place: int):
        smoothing = panel.parameter(place)
        return _Smoothed(smoothing, panel.x.b.fmul(smoothing, panel.share()))

    def line(self, panel: Panel, i):
        return _smooth(panel.x, panel.line(panel.t, i), self.smoothing, self.floor)


def _zero_without_target(x: Lines, t, value):
    """A target of 0 costs 0, whatever z is."""
    return x.b.select(x.b.fcmp_ordered("==", t, x.const(0.0)), x.const(0.0), value)


def _cross_entropy_known(panel: Panel):
    """The rows' log-sums, and the sums of their targets (1 for one-hot rows)."""
    smoothed = _Smoothed.of(panel, 0)
    return panel.x.load(panel.extra), panel.sum_of(lambda i: smoothed.line(panel, i)), smoothed


def _cross_entropy_line(panel: Panel, i, known):
    """t (logsum - z) and p sum(t) - t."""
    x, b = panel.x, panel.x.b
    logsum, total, smoothed = known
    t = smoothed.line(panel, i)
    value = b.fmul(t, b.fsub(logsum, panel.line(panel.z, i)))
    return _zero_without_target(x, t, value), b.fsub(b.fmul(panel.line(panel.d, i), total), t)


def _divergence_known(panel: Panel):
    return panel.x.load(panel.extra), panel.sum_of(lambda i: panel.line(panel.t, i))


def _divergence_line(panel: Panel, i, known):
    """t (log t + logsum - z) and p sum(t) - t."""
    x, b = panel.x, panel.x.b
    logsum, total = known
    t = panel.line(panel.t, i)
    value = b.fmul(t, b.fadd(transcendental.log(x, t), b.fsub(logsum, panel.line(panel.z, i))))
    return _zero_without_target(x, t, value), b.fsub(b.fmul(panel.line(panel.d, i), total), t)


def _focal_terms(panel: Panel, i, gamma, smoothed):
    """alpha t (1 - p)^gamma l, and p times its derivative by p; l = -log p, and 1 - p comes from l, so that their
    quotient stays near 1 for small l. One alpha for all classes, or one for each."""
    x, b = panel.x, panel.x.b
    each = b.icmp_signed(">", panel.whole(0), I64(3))
    alpha = panel.parameter(b.add(b.select(each, i, I64(0)), I64(2)))
    t = smoothed.line(panel, i)
    l = x.maximum(x.const(0.0), b.fsub(x.load(panel.extra), panel.line(panel.z, i)))  # noqa: E741
    q = x.maximum(x.const(TINY[x.bits]), x.neg(transcendental.expm1_bounded(x, x.neg(l))))
    weight = b.fmul(b.fmul(alpha, t), _power(x, q, gamma))
    p = transcendental.exp_bounded(x, x.neg(l))
    slope = b.fmul(x.neg(weight), x.fma(b.fmul(gamma, p), b.fdiv(l, q), x.const(1.0)))
    return _zero_without_target(x, t, b.fmul(weight, l)), _zero_without_target(x, t, slope)


def _focal_known(panel: Panel):
    gamma, smoothed = panel.parameter(0), _Smoothed.of(panel, 1)
    return gamma, smoothed, panel.sum_of(lambda i: _focal_terms(panel, i, gamma, smoothed)[1])


def _focal_line(panel: Panel, i, known):
    """dloss/dz_i = G_i - p_i sum G, G_j = p_j dloss/dp_j."""
    gamma, smoothed, total = known
    value, slope = _focal_terms(panel, i, gamma, smoothed)
    return value, panel.x.b.fsub(slope, panel.x.b.fmul(panel.line(panel.d, i), total))


# name -> (panel) -> what all lines need to know, (panel, i, known) -> (value, slope) of line i
LOSSES: dict[str, tuple[Callable, Callable]] = {
    "cross_entropy": (_cross_entropy_known, _cross_entropy_line),
    "categorical_focal": (_focal_known, _focal_line),
    "kl_divergence": (_divergence_known, _divergence_line),
    "categorical_hinge": (_categorical_hinge_known, _categorical_hinge_line),
    "quantile": (Panel.share, _quantile_line),
    "gaussian_nll": (Panel.share, _gaussian_line),
    "mse": _elementwise(_mse),
    "mae": _elementwise(_mae),
    "huber": _elementwise(_huber, 1),
    "log_cosh": _elementwise(_log_cosh),
    "poisson": _elementwise(_poisson, 1),
    "poisson_log": _elementwise(_poisson_log),
    "hinge": _elementwise(_hinge),
    "binary_cross_entropy": _elementwise(_binary_cross_entropy, 1),
    "binary_focal": _elementwise(_binary_focal, 4),
}
