"""Pictures of training, models and measurements: needs matplotlib, the extra `plot`.

Figures stand by themselves: pyplot and its state are not touched, no backend is chosen, and nothing is kept, so what is
saved is gone. Every function takes the path of a file to write, its name's ending the format (png, pdf, svg); without
one it returns the figure, to show in a notebook or to change. Colours are told apart by the colour-blind, too.
"""

from fastbp.plots.health import plot_diagnosis, plot_gradient_health
from fastbp.plots.learning_curves import plot_history, plot_learning_rate
from fastbp.plots.outcomes import plot_confusion_matrix, plot_predictions
from fastbp.plots.speed import plot_speed
from fastbp.plots.weights import plot_weights

__all__ = [
    "plot_confusion_matrix",
    "plot_diagnosis",
    "plot_gradient_health",
    "plot_history",
    "plot_learning_rate",
    "plot_predictions",
    "plot_speed",
    "plot_weights",
]
