"""Plots of training, models and measurements; needs matplotlib (extra `plot`).

Figures are independent of pyplot and its state: no backend is selected, and a saved figure is not kept. Every function
takes the path of a file to write, whose extension determines the format (png, pdf, svg); without one it returns the
figure, for notebooks or further changes. Colours are distinguishable for the colour-blind.
"""

from fastbp.plots.health import plot_diagnosis, plot_gradient_health
from fastbp.plots.importances import plot_importances
from fastbp.plots.learning_curves import plot_history, plot_learning_rate
from fastbp.plots.predictions import plot_confusion_matrix, plot_predictions
from fastbp.plots.speed import plot_speed
from fastbp.plots.weights import plot_weights

__all__ = [
    "plot_confusion_matrix",
    "plot_diagnosis",
    "plot_gradient_health",
    "plot_history",
    "plot_importances",
    "plot_learning_rate",
    "plot_predictions",
    "plot_speed",
    "plot_weights",
]
