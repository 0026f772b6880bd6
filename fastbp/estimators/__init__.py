"""scikit-learn estimators on fastbp's engine: `fastbp.MLPClassifier` and `fastbp.MLPRegressor`.

Parameters, attributes, random streams and messages match those of scikit-learn's estimators of the same names;
docs/estimators.md lists the differences and additions.
"""

try:
    import sklearn  # noqa: F401
except ImportError as error:
    raise ImportError(
        "fastbp.MLPClassifier and fastbp.MLPRegressor need scikit-learn, which is not installed: "
        'pip install "fastbp[sklearn]" installs it'
    ) from error

from fastbp.estimators.classifier import MLPClassifier
from fastbp.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
