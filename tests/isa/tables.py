"""The tables of cases of all microkernels except the tile and the losses, which take more than a dtype."""

from __future__ import annotations

from .cases_activations import ACTIVATIONS
from .cases_dropout import DROPOUT
from .cases_elementwise import ELEMENTWISE
from .cases_losses import impossible
from .cases_normalization import BY_PAIRS, FEW_PAIRS, NORMALIZATION
from .cases_optimizers import OPTIMIZERS, updates
from .cases_panels import PANELS, gathers, scatters
from .cases_parameters import PARAMETERS
from .cases_softmax import SOFTMAX
from .cases_sparse import SPARSE
from .cases_waves import WAVES

TABLES = (
    *PANELS, *ELEMENTWISE, *SOFTMAX, impossible, *NORMALIZATION, *DROPOUT, *PARAMETERS, *SPARSE, *OPTIMIZERS,
    *ACTIVATIONS, *WAVES,
)  # fmt: skip
# Arguments that make a table short enough for plain Python.
SHORTER = {
    updates: {"longest": 50},
    **{cases: {"pairs": FEW_PAIRS} for cases in BY_PAIRS},
    **{cases: {"features": (1, 9, 33)} for cases in (gathers, scatters)},
}
