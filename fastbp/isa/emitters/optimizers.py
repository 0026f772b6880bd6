"""Update rules in registers: one line of weights, its gradient and its states at a time.

Adam keeps its averages without their factors, m' = m / (1 - beta_1) and v' = v / (1 - beta_2), so that each costs one
fused multiply-add fewer; the factors and the bias corrections are in the scalars (see `fold` in the twins' file):

    m' <- beta_1 m' + g        v' <- beta_2 v' + g^2        W <- W - alpha m' / (sqrt(v') + epsilon')

AMSGrad and NAdam do so too; all other rules keep their states as published. What an optimizer may leave out (decay, for
one) is a scalar wherever that is free, since every rule has to be compiled; a state more or less makes another rule.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from llvmlite import ir

from fastbp.isa.codes import LIMIT, UPDATE_RULES
from fastbp.isa.emitters.vocabulary.lines import I64, Lines, declare, define, loop
from fastbp.isa.twins.optimizers import TINY_32, TINY_64

TINY = {32: TINY_32, 64: TINY_64}


def sgd(x: Lines, g, w, states, s, table):
    return x.fma(s.step, g, x.b.fmul(s.kept, w)), []


def momentum(x: Lines, g, w, states, s, table):
    velocity = x.fma(s.momentum, states[0], x.fma(s.decay, w, g))
    return x.fma(s.step, velocity, w), [velocity]


def nesterov(x: Lines, g, w, states, s, table):
    g = x.fma(s.decay, w, g)
    velocity = x.fma(s.momentum, states[0], g)
    return x.fma(s.step, x.fma(s.momentum, velocity, g), w), [velocity]


def adam(x: Lines, g, w, states, s, table):
    m, v = averages(x, g, states, s.beta_1, s.beta_2)
    return plus_quotient(x, w, s.step, m, v, s.epsilon, table), [m, v]


def adam_decay(x: Lines, g, w, states, s, table):
    return adam(x, x.fma(s.decay, w, g), w, states, s, table)


def adamw(x: Lines, g, w, states, s, table):
    """s.kept: 1 - rate*decay."""
    return adam(x, g, x.b.fmul(s.kept, w), states, s, table)


def amsgrad(x: Lines, g, w, states, s, table):
    """Adam with `decay`, or AdamW with `kept`. The third state is the largest v'."""
    m, v = averages(x, x.fma(s.decay, w, g), states, s.beta_1, s.beta_2)
    largest = x.maximum(states[2], v)
    return plus_quotient(x, x.b.fmul(s.kept, w), s.step, m, largest, s.epsilon, table), [m, v, largest]


def nadam(x: Lines, g, w, states, s, table):
    g = x.fma(s.decay, w, g)
    m, v = averages(x, g, states, s.beta_1, s.beta_2)
    return plus_quotient(x, w, s.step, x.fma(s.share_of_m, m, g), v, s.epsilon, table), [m, v]


def averages(x: Lines, g, states, beta_1, beta_2):
    """Adam's m' and v'."""
    return x.fma(beta_1, states[0], g), x.fma(g, g, x.fma(beta_2, states[1], x.const(TINY[x.bits])))


def rmsprop(x: Lines, g, w, states, s, table):
    g = x.fma(s.decay, w, g)
    v = mean_square(x, g, x.fma(s.rho, states[0], x.const(TINY[x.bits])), s)
    return plus_quotient(x, w, s.step, g, v, s.epsilon, table), [v]


def rmsprop_momentum(x: Lines, g, w, states, s, table):
    """States: v, velocity."""
    g = x.fma(s.decay, w, g)
    v = mean_square(x, g, x.fma(s.rho, states[0], x.const(TINY[x.bits])), s)
    velocity = plus_quotient(x, x.b.fmul(s.momentum, states[1]), x.const(1.0), g, v, s.epsilon, table)
    return x.fma(s.step, velocity, w), [v, velocity]


def rmsprop_centered(x: Lines, g, w, states, s, table):
    """States: v, velocity, mean gradient. v - mean^2 may be rounded to less than 0."""
    g = x.fma(s.decay, w, g)
    v = mean_square(x, g, x.b.fmul(s.rho, states[0]), s)
    mean = x.fma(s.one_minus_rho, g, x.b.fmul(s.rho, states[2]))
    variance = x.maximum(x.const(TINY[x.bits]), x.fma(x.neg(mean), mean, v))
    velocity = plus_quotient(x, x.b.fmul(s.momentum, states[1]), x.const(1.0), g, variance, s.epsilon, table)
    return x.fma(s.step, velocity, w), [v, velocity, mean]


def mean_square(x: Lines, g, kept, s):
    return x.fma(x.b.fmul(s.one_minus_rho, g), g, kept)


def adagrad(x: Lines, g, w, states, s, table):
    """The state is the sum without its initial value."""
    g = x.fma(s.decay, w, g)
    total = x.fma(g, g, states[0])
    return plus_quotient(x, w, s.step, g, x.b.fadd(total, s.initial), s.epsilon, table), [total]


def adadelta(x: Lines, g, w, states, s, table):
    """States: mean square of gradients and of steps."""
    g = x.fma(s.decay, w, g)
    v = mean_square(x, g, x.b.fmul(s.rho, states[0]), s)
    ratio = x.b.fdiv(x.b.fadd(states[1], s.epsilon), x.b.fadd(v, s.epsilon))
    step = x.b.fmul(x.call("sqrt", ratio), g)
    return x.fma(s.step, step, w), [v, mean_square(x, step, x.b.fmul(s.rho, states[1]), s)]


def lion(x: Lines, g, w, states, s, table):
    """Where the average is 0 there is no step."""
    average = x.fma(s.one_minus_beta_1, g, x.b.fmul(s.beta_1, states[0]))
    step = x.call("copysign", s.learning_rate, average)
    step = x.b.select(x.b.fcmp_ordered("==", average, x.const(0.0)), x.const(0.0), step)
    m = x.fma(s.one_minus_beta_2, g, x.b.fmul(s.beta_2, states[0]))
    return x.fma(s.kept, w, x.neg(step)), [m]


def plus_quotient(x: Lines, w, factor, top, v, epsilon, table):
    """w + factor top / (sqrt(v) + epsilon)."""
    if table.reciprocals and x.bits == 32:
        return quotient_fast(x, top, v, epsilon, factor, w)
    return x.fma(factor, x.b.fdiv(top, x.b.fadd(x.call("sqrt", v), epsilon)), w)


def quotient_fast(x: Lines, m, v, epsilon, factor, w):
    """w + factor m / (sqrt(v) + epsilon), the quotient within 2 ULP, from 14-bit estimates and one Newton step each.

    With y ~ 1/sqrt(v) and r = v y, twice the root is r (3 - r y), so one multiply-add gives d = 2 (sqrt(v) + epsilon).
    With q ~ 1/d, the quotient m/(d/2) is 2 m q (2 - d q). Measured in cache: some 11 cycles a line for all of Adam
    instead of the 30 that the divider needs.
    """
    y = estimate(x, "rsqrt14", v)
    r = x.b.fmul(v, y)
    d = x.fma(r, x.fma(x.neg(r), y, x.const(3.0)), x.b.fadd(epsilon, epsilon))
    q = estimate(x, "rcp14", d)
    correction = x.fma(x.neg(d), q, x.const(2.0))
    return x.fma(x.b.fmul(x.b.fmul(m, x.b.fadd(factor, factor)), q), correction, w)


def estimate(x: Lines, name: str, v):
    kind = ir.FunctionType(x.vector, [x.vector, x.vector, ir.IntType(16)])
    intrinsic = declare(x.b.module, f"llvm.x86.avx512.{name}.ps.512", kind)
    return x.b.call(intrinsic, [v, x.const(0.0), ir.IntType(16)(-1)])


# One line of each rule: (x, g, w, states, s, table) -> the new weights and states; s has the scalars by name.
RULES: dict[str, Callable] = {
    rule.__name__: rule
    for rule in (sgd, momentum, nesterov, adam, adam_decay, adamw, amsgrad, nadam, rmsprop, rmsprop_momentum,
                 rmsprop_centered, adagrad, adadelta, lion)
}  # fmt: skip


def all_lanes(x: Lines, mask):
    width = ir.IntType(x.lanes)
    return x.b.icmp_unsigned("==", x.b.bitcast(mask, width), width(-1))


def finite(x: Lines, v):
    return x.b.fcmp_ordered("<", x.call("fabs", v), x.const(float("inf")))


def update(module: ir.Module, bits: int, table, rule: str) -> ir.Function:
    """`columns` runs of `rows` lines.

    The states lie `stride` elements behind the weights. One look at the squared gradients decides for the whole run
    whether anything could overflow; only then every line is checked, and a line's weights and states are stored in
    those lanes alone where all of them are finite, and *flag becomes 1.
    """
    step, n_states, names = RULES[rule], UPDATE_RULES[rule].n_states, UPDATE_RULES[rule].scalars

    def body(builder, rows, columns, g, gpitch, w, wpitch, stride, scalars, flag):
        x, b = Lines(builder, bits), builder
        known = [x.splat(x.load_scalar(scalars, i)) for i in range(LIMIT)]
        s = SimpleNamespace(**dict(zip(names, known, strict=False)))

        def squares(j, values):
            def line(i, values):
                g_line = x.load(g, b.add(b.mul(j, gpitch), b.mul(i, I64(x.lanes))))
                return [values[1], values[2], values[3], x.fma(g_line, g_line, values[0])]
            return loop(b, rows, values, line)

        totals = loop(b, columns, [x.const(0.0)] * 4, squares)  # four chains: one would wait for itself
        total = b.fadd(b.fadd(totals[0], totals[1]), b.fadd(totals[2], totals[3]))
        safe = all_lanes(x, b.fcmp_ordered("<", total, x.splat(x.load_scalar(scalars, LIMIT))))

        def run(checked):
            def column(j, _):
                def line(i, _):
                    at = b.mul(i, I64(x.lanes))
                    here = b.add(b.mul(j, wpitch), at)
                    places = [b.add(here, b.mul(stride, I64(n))) for n in range(n_states + 1)]
                    old = [x.load(w, place) for place in places]
                    g_line = x.load(g, b.add(b.mul(j, gpitch), at))
                    new_w, new_states = step(x, g_line, old[0], old[1:], s, table)
                    new = [new_w, *new_states]
                    if checked:
                        new = keep_finite(x, old, new, flag)
                    for value, place in zip(new, places, strict=True):
                        x.store(value, w, place)
                    return []
                loop(b, rows, [], line)
                return []
            loop(b, columns, [], column)

        with b.if_else(safe) as (fast, slow):
            with fast:
                run(checked=False)
            with slow:
                run(checked=True)

    return define(module, bits, "update", body, rule)


def keep_finite(x: Lines, old: list, new: list, flag) -> list:
    b = x.b
    good = finite(x, new[0])
    for value in new[1:]:
        good = b.and_(good, finite(x, value))
    with b.if_then(b.not_(all_lanes(x, good))):
        b.store(I64(1), flag, align=8)
    return [b.select(good, value, kept) for value, kept in zip(new, old, strict=True)]
