"""Diagnostics: layer health, gradient checks, learning rate search."""

from fastbp.diagnosis.gradient_check import GradientCheck, check_gradients
from fastbp.diagnosis.layer_health import Diagnosis, LayerDiagnosis, diagnose
from fastbp.diagnosis.lr_finder import RateSearch, find_learning_rate

__all__ = [
    "Diagnosis",
    "GradientCheck",
    "LayerDiagnosis",
    "RateSearch",
    "check_gradients",
    "diagnose",
    "find_learning_rate",
]
