"""Update rules in registers: one line of weights, its gradient and its states at a time.

Adam keeps its averages without their factors, m' = m / (1 - beta_1) and v' = v / (1 - beta_2), so that each costs one
fused multiply-add fewer; the factors and the bias corrections are in the scalars (see `kernels.updates`):

    m' <- beta_1 m' + g        v' <- beta_2 v' + g^2        W <- W - alpha m' / (sqrt(v') + epsilon')

AMSGrad and NAdam do so too; all other rules keep their states as published. What an optimizer may leave out (decay, for
one) is a scalar wherever that is free, since every rule has to be compiled; a state more or less makes another rule.
"""

from __future__ import annotations

from collections.abc import Callable

from llvmlite import ir

from fastbp.isa.emitters.lines import I64, PTR, Lines, declare, define, loop

# Added to v', so that 0 / 0 cannot arise when epsilon is 0; far below what epsilon or any real gradient adds.
TINY_32, TINY_64 = 1e-36, 1e-290
TINY = {32: TINY_32, 64: TINY_64}


def sgd(x: Lines, g, w, states, s, table):
    """s: 1 - rate*decay, -rate."""
    return x.fma(s[1], g, x.b.fmul(s[0], w)), []


def momentum(x: Lines, g, w, states, s, table):
    """s: decay, momentum, -rate."""
    velocity = x.fma(s[1], states[0], x.fma(s[0], w, g))
    return x.fma(s[2], velocity, w), [velocity]


def nesterov(x: Lines, g, w, states, s, table):
    g = x.fma(s[0], w, g)
    velocity = x.fma(s[1], states[0], g)
    return x.fma(s[2], x.fma(s[1], velocity, g), w), [velocity]


def adam(x: Lines, g, w, states, s, table):
    """s: (decay), beta_1, beta_2, epsilon', -alpha."""
    m, v = averages(x, g, states, s)
    return plus_quotient(x, w, s[4], m, v, s[3], table), [m, v]


def adam_decay(x: Lines, g, w, states, s, table):
    return adam(x, x.fma(s[0], w, g), w, states, s, table)


def adamw(x: Lines, g, w, states, s, table):
    """s[0]: 1 - rate*decay."""
    return adam(x, g, x.b.fmul(s[0], w), states, s, table)


def amsgrad(x: Lines, g, w, states, s, table):
    """s: Adam's decay, beta_1, beta_2, epsilon', -alpha, 1 - rate*decay of AdamW. The third state is the largest v'."""
    m, v = averages(x, x.fma(s[0], w, g), states, s)
    largest = x.maximum(states[2], v)
    return plus_quotient(x, x.b.fmul(s[5], w), s[4], m, largest, s[3], table), [m, v, largest]


def nadam(x: Lines, g, w, states, s, table):
    """s: decay, beta_1, beta_2, epsilon', -alpha, weight of m' beside g."""
    g = x.fma(s[0], w, g)
    m, v = averages(x, g, states, s)
    return plus_quotient(x, w, s[4], x.fma(s[5], m, g), v, s[3], table), [m, v]


def averages(x: Lines, g, states, s):
    """Adam's m' and v'."""
    return x.fma(s[1], states[0], g), x.fma(g, g, x.fma(s[2], states[1], x.const(TINY[x.bits])))


def rmsprop(x: Lines, g, w, states, s, table):
    """s: decay, rho, 1 - rho, epsilon, -rate."""
    g = x.fma(s[0], w, g)
    v = mean_square(x, g, x.fma(s[1], states[0], x.const(TINY[x.bits])), s)
    return plus_quotient(x, w, s[4], g, v, s[3], table), [v]


def rmsprop_momentum(x: Lines, g, w, states, s, table):
    """s: also momentum. States: v, velocity."""
    g = x.fma(s[0], w, g)
    v = mean_square(x, g, x.fma(s[1], states[0], x.const(TINY[x.bits])), s)
    velocity = plus_quotient(x, x.b.fmul(s[5], states[1]), x.const(1.0), g, v, s[3], table)
    return x.fma(s[4], velocity, w), [v, velocity]


def rmsprop_centered(x: Lines, g, w, states, s, table):
    """States: v, velocity, mean gradient. v - mean^2 may be rounded to less than 0."""
    g = x.fma(s[0], w, g)
    v = mean_square(x, g, x.b.fmul(s[1], states[0]), s)
    mean = x.fma(s[2], g, x.b.fmul(s[1], states[2]))
    variance = x.maximum(x.const(TINY[x.bits]), x.fma(x.neg(mean), mean, v))
    velocity = plus_quotient(x, x.b.fmul(s[5], states[1]), x.const(1.0), g, variance, s[3], table)
    return x.fma(s[4], velocity, w), [v, velocity, mean]


def mean_square(x: Lines, g, kept, s):
    return x.fma(x.b.fmul(s[2], g), g, kept)


def adagrad(x: Lines, g, w, states, s, table):
    """s: decay, initial accumulator value, epsilon, -rate. The state is the sum without its initial value."""
    g = x.fma(s[0], w, g)
    total = x.fma(g, g, states[0])
    return plus_quotient(x, w, s[3], g, x.b.fadd(total, s[1]), s[2], table), [total]


def adadelta(x: Lines, g, w, states, s, table):
    """s: decay, rho, 1 - rho, epsilon, -rate. States: mean square of gradients and of steps."""
    g = x.fma(s[0], w, g)
    v = mean_square(x, g, x.b.fmul(s[1], states[0]), s)
    ratio = x.b.fdiv(x.b.fadd(states[1], s[3]), x.b.fadd(v, s[3]))
    step = x.b.fmul(x.call("sqrt", ratio), g)
    return x.fma(s[4], step, w), [v, mean_square(x, step, x.b.fmul(s[1], states[1]), s)]


def lion(x: Lines, g, w, states, s, table):
    """s: 1 - rate*decay, beta_1, 1 - beta_1, beta_2, 1 - beta_2, rate. Where the average is 0 there is no step."""
    average = x.fma(s[2], g, x.b.fmul(s[1], states[0]))
    step = x.call("copysign", s[5], average)
    step = x.b.select(x.b.fcmp_ordered("==", average, x.const(0.0)), x.const(0.0), step)
    m = x.fma(s[4], g, x.b.fmul(s[3], states[0]))
    return x.fma(s[0], w, x.neg(step)), [m]


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


# rule -> (emitter, number of states). The position is the code that kernels pass.
RULES: dict[str, tuple[Callable, int]] = {
    "sgd": (sgd, 0),
    "momentum": (momentum, 1),
    "nesterov": (nesterov, 1),
    "adam": (adam, 2),
    "adam_decay": (adam_decay, 2),
    "adamw": (adamw, 2),
    "amsgrad": (amsgrad, 3),
    "nadam": (nadam, 2),
    "rmsprop": (rmsprop, 1),
    "rmsprop_momentum": (rmsprop_momentum, 2),
    "rmsprop_centered": (rmsprop_centered, 3),
    "adagrad": (adagrad, 1),
    "adadelta": (adadelta, 2),
    "lion": (lion, 1),
}
MOST_STATES = 3
N_SCALARS = 8
LIMIT = 7  # scalars[LIMIT] bounds the squared gradients up to which nothing can overflow


def all_lanes(x: Lines, mask):
    width = ir.IntType(x.lanes)
    return x.b.icmp_unsigned("==", x.b.bitcast(mask, width), width(-1))


def finite(x: Lines, v):
    return x.b.fcmp_ordered("<", x.call("fabs", v), x.const(float("inf")))


def update(module: ir.Module, bits: int, table, rule: str) -> ir.Function:
    """void (rows, columns, g, gpitch, w, wpitch, stride, scalars, flag): `columns` runs of `rows` lines.

    The states lie `stride` elements behind the weights. One look at the squared gradients decides for the whole run
    whether anything could overflow; only then every line is checked, and a line's weights and states are stored in
    those lanes alone where all of them are finite, and *flag becomes 1.
    """
    step, n_states = RULES[rule]

    def body(builder, rows, columns, g, gpitch, w, wpitch, stride, scalars, flag):
        x, b = Lines(builder, bits), builder
        s = [x.splat(x.load_scalar(scalars, i)) for i in range(LIMIT)]

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

    kinds = [I64, I64, PTR, I64, PTR, I64, I64, PTR, PTR]
    return define(module, f"fastbp_update_{rule}_f{bits}", kinds, body)


def keep_finite(x: Lines, old: list, new: list, flag) -> list:
    b = x.b
    good = finite(x, new[0])
    for value in new[1:]:
        good = b.and_(good, finite(x, value))
    with b.if_then(b.not_(all_lanes(x, good))):
        b.store(I64(1), flag, align=8)
    return [b.select(good, value, kept) for value, kept in zip(new, old, strict=True)]
